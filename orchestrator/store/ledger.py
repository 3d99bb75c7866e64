"""The ledger: rows are written and read, never changed; a corrected price is one more rating."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from orchestrator.ledger.entry import UNSETTLED, Entry, Rating, cost_of
from orchestrator.store.tables import LedgerRatingRow, LedgerRow

T = TypeVar("T")

#: rows in one statement: well below every database's limit on parameters
_BATCH = 500


class Ledger:
    """All rows of the ledger within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, entries: Sequence[Entry]) -> None:
        """Append rows; their ids and revisions are given here."""
        for batch in _batches(entries):
            self._session.execute(insert(LedgerRow), [_row(entry) for entry in batch])

    def rate(self, ratings: Sequence[tuple[Entry, Rating]], now: datetime) -> None:
        """Write one more rating for each of these rows; those before it stay."""
        for batch in _batches(ratings):
            rows = [
                {
                    "entry": entry.id,
                    "revision": entry.revision + 1,
                    "rated": now,
                    **dataclasses.asdict(rating),
                    "cost": cost_of(entry.microjoules, rating.price),
                }
                for entry, rating in batch
            ]
            self._session.execute(insert(LedgerRatingRow), rows)

    def entries(
        self, start: datetime | None = None, end: datetime | None = None, run: str | None = None
    ) -> list[Entry]:
        """The rows that begin in [start, end), in the order of time, each with its newest rating.

        Args:
            run: only that run's; None: every run's, and those without a run.
        """
        columns = LedgerRow.__table__.c
        wanted = select(*columns).order_by(columns.begins, columns.id)
        if start is not None:
            wanted = wanted.where(columns.begins >= start)
        if end is not None:
            wanted = wanted.where(columns.begins < end)
        if run is not None:
            wanted = wanted.where(columns.run == run)
        newest = self._newest_ratings(start, end)
        return [_entry(row, newest.get(row.id)) for row in self._session.execute(wanted)]

    def page(self, after: int, limit: int) -> list[Entry]:
        """At most ``limit`` rows with a greater id, in the order of their ids.

        A month is too long for one transaction that the tick waits for; rows are only appended,
        so pages fit together.
        """
        columns = LedgerRow.__table__.c
        wanted = select(*columns).where(columns.id > after).order_by(columns.id).limit(limit)
        rows = list(self._session.execute(wanted))
        if not rows:
            return []
        ratings = LedgerRatingRow.__table__.c
        mine = ratings.entry.between(rows[0].id, rows[-1].id)
        ordered = select(*ratings).where(mine).order_by(ratings.entry, ratings.revision)
        newest = {row.entry: row for row in self._session.execute(ordered)}
        return [_entry(row, newest.get(row.id)) for row in rows]

    def unsettled(self, tariff: str, start: datetime) -> list[Entry]:
        """The rows since ``start`` that this tariff rated by a forecast, or had no price for."""
        columns = LedgerRow.__table__.c
        wanted = select(*columns).where(
            columns.begins >= start, columns.tariff == tariff, columns.certainty.in_(UNSETTLED)
        )
        rows = list(self._session.execute(wanted.order_by(columns.begins, columns.id)))
        newest = self._newest_ratings(start, None) if rows else {}
        entries = (_entry(row, newest.get(row.id)) for row in rows)
        return [entry for entry in entries if entry.rating.certainty in UNSETTLED]

    def used_microjoules(self, start: datetime, end: datetime) -> int:
        """What runs used in [start, end), by where a row begins."""
        used = select(func.sum(LedgerRow.microjoules)).where(
            LedgerRow.run.is_not(None), LedgerRow.start >= start, LedgerRow.start < end
        )
        return int(self._session.scalar(used) or 0)

    def reached(self, run: str) -> datetime | None:
        """The end of a run's last row."""
        return self._session.scalar(select(func.max(LedgerRow.end)).where(LedgerRow.run == run))

    def _newest_ratings(self, start: datetime | None, end: datetime | None) -> dict[int, Any]:
        columns = LedgerRatingRow.__table__.c
        entry = LedgerRow.__table__.c
        ratings = select(*columns).join(LedgerRow, entry.id == columns.entry)
        if start is not None:
            ratings = ratings.where(entry.begins >= start)
        if end is not None:
            ratings = ratings.where(entry.begins < end)
        # the newest revision of a row overwrites those before it
        rows = self._session.execute(ratings.order_by(columns.entry, columns.revision))
        return {row.entry: row for row in rows}


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "run": entry.run,
        "start": entry.start,
        "end": entry.end,
        "microjoules": entry.microjoules,
        "source": entry.source,
        "measured": entry.measured,
        "tokens": entry.tokens,
        **dataclasses.asdict(entry.rating),
        "cost": entry.cost,
    }


def _entry(row: Any, newest: Any) -> Entry:
    rated = row if newest is None else newest
    return Entry(
        row.run,
        row.begins,
        row.ends,
        row.microjoules,
        row.source,
        row.measured,
        row.tokens,
        Rating(rated.price, rated.currency, rated.certainty, rated.tariff),
        rated.cost,
        0 if newest is None else newest.revision,
        row.id,
    )


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
