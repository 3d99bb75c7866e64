"""The prices that services published, with every revision: a bill may have used the old one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from orchestrator.store.tables import PriceRow
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source

#: rows in one statement: well below every database's limit on parameters
_BATCH = 500


@dataclass(frozen=True)
class PriceSource:
    """Whose prices these are. Other keys never mix with them."""

    service: str
    #: where, and which product, as far as the service has several
    area: str
    currency: str


@dataclass(frozen=True)
class Written:
    """What a series changed."""

    new: int
    revised: int


@dataclass(frozen=True)
class Revision:
    """A price that changed after it had been published; None: that slot was not there."""

    start: datetime
    end: datetime
    before: Decimal | None
    after: Decimal | None
    fetched: datetime


class Prices:
    """All published prices within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, source: PriceSource, series: PriceSeries, now: datetime) -> Written:
        """Write what is new. The same price again changes nothing; another one is a revision.

        A slot that overlaps the new ones without being among them is withdrawn: a market that
        goes from hours to quarter-hours does not leave its hours behind.
        """
        slots = series.slots
        if not slots:
            return Written(0, 0)
        known = self._newest(source, slots[0].start, slots[-1].end, as_of=None)
        starts = {slot.start for slot in slots}
        rows, revised = [], 0
        for slot in slots:
            old = known.get(slot.start)
            if old is None or (old.end, old.price) != (slot.end, slot.price):
                revised += old is not None
                revision = old.revision + 1 if old else 0
                rows.append(_row(source, slot.start, slot.end, slot.price, revision, now))
        new = len(rows) - revised
        for old in known.values():
            covered = any(True for _ in series.between(old.start, old.end))
            if old.price is not None and old.start not in starts and covered:
                rows.append(_row(source, old.start, old.end, None, old.revision + 1, now))
                revised += 1
        for batch in _batches(rows):
            self._session.execute(insert(PriceRow), batch)
        return Written(new, revised)

    def of(
        self, source: PriceSource, start: datetime, end: datetime, *, as_of: datetime | None = None
    ) -> PriceSeries:
        """The prices that touch [start, end); with ``as_of`` as they were known at that time."""
        newest = self._newest(source, start, end, as_of)
        slots = (
            PriceSlot(row.start, row.end, row.price, Source.PUBLISHED)
            for row in newest.values()
            if row.price is not None
        )
        return PriceSeries(source.currency, tuple(sorted(slots, key=lambda slot: slot.start)))

    def revised_since(self, source: PriceSource, after: datetime) -> list[Revision]:
        """What changed after ``after``, in the order of time: what a ledger has to rate again."""
        changed = select(PriceRow).where(
            *_mine(source), PriceRow.revision > 0, PriceRow.fetched > after
        )
        found = []
        for row in self._session.scalars(changed.order_by(PriceRow.start, PriceRow.revision)):
            key = (row.service, row.area, row.currency, row.start, row.revision - 1)
            before = self._session.get(PriceRow, key)
            price = before.price if before else None
            found.append(Revision(row.start, row.end, price, row.price, row.fetched))
        return found

    def newest_fetch(self, source: PriceSource) -> datetime | None:
        """When anything was written last."""
        last = select(PriceRow.fetched).where(*_mine(source)).order_by(PriceRow.fetched.desc())
        return self._session.scalars(last.limit(1)).first()

    def forget(self, before: datetime) -> None:
        """Delete what ended before that time, of all sources."""
        old = delete(PriceRow).where(PriceRow.end <= before)
        self._session.execute(old, execution_options={"synchronize_session": False})

    def _newest(
        self, source: PriceSource, start: datetime, end: datetime, as_of: datetime | None
    ) -> dict[datetime, PriceRow]:
        touching = select(PriceRow).where(
            *_mine(source), PriceRow.start < end, PriceRow.end > start
        )
        if as_of is not None:
            touching = touching.where(PriceRow.fetched <= as_of)
        # the newest revision of a start overwrites those before it
        ordered = touching.order_by(PriceRow.start, PriceRow.revision)
        return {row.start: row for row in self._session.scalars(ordered)}


def _mine(source: PriceSource) -> tuple[Any, ...]:
    return (
        PriceRow.service == source.service,
        PriceRow.area == source.area,
        PriceRow.currency == source.currency,
    )


def _row(
    source: PriceSource,
    start: datetime,
    end: datetime,
    price: Decimal | None,
    revision: int,
    now: datetime,
) -> Mapping[str, Any]:
    return {
        "service": source.service,
        "area": source.area,
        "currency": source.currency,
        "start": start,
        "revision": revision,
        "end": end,
        "price": price,
        "fetched": now,
    }


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    rest = iter(rows)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
