"""The keeper of the ledger: writes what was measured, rated as it is known, and rates it again.

The supervisor adds readings at each tick and writes with its books, in the same transaction: a
row is at most one minute long. A daemon that is killed loses the minute that it was in and what
the last flush had not taken yet; nothing is ever written twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from orchestrator.domain import Power
from orchestrator.ledger.entry import LONGEST, UNSETTLED, Entry, Rating, Stretch, kwh
from orchestrator.ledger.split import rate, split
from orchestrator.ledger.tape import Tape
from orchestrator.store import Store, StoreFailed, Transaction
from orchestrator.store.prices import Revision
from orchestrator.tariff.components import Tiered
from orchestrator.tariff.slots import PriceSeries, PriceSlot
from orchestrator.tariff.tariff import Tariff

log = logging.getLogger(__name__)

#: a tariff with a forecast is asked for no further than a row can reach
_AHEAD = timedelta(hours=1)
#: how far back a first look after a start goes for prices that came or changed since
_BACK = timedelta(days=35)
_PAGE = 5_000


class PriceBook(Protocol):
    """What the ledger asks of the prices."""

    @property
    def digest(self) -> str:
        """Of the configured tariff; empty when there is none."""

    def tariff(self, until: datetime) -> Tariff | None:
        """As it is known now, with a forecast up to ``until``; from memory, for the tick waits."""

    def tariff_between(self, start: datetime, end: datetime) -> Tariff | None:
        """With what was published for [start, end), as the store knows it; no forecast."""

    def revisions(self, after: datetime) -> Sequence[Revision]:
        """The prices that changed after ``after`` although they had been published."""


class NoPrices:
    """No tariff at all: every cost is unknown."""

    digest = ""

    def tariff(self, until: datetime) -> Tariff | None:
        return None

    def tariff_between(self, start: datetime, end: datetime) -> Tariff | None:
        return None

    def revisions(self, after: datetime) -> Sequence[Revision]:
        return ()


class LedgerKeeper:
    """The supervisor's thread adds and writes; the chore that rates has its own."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._tape = Tape()
        self._rated_until: datetime | None = None
        self._rating = threading.Lock()

    # --- the tick ---------------------------------------------------------------------------

    def add(self, run: str | None, power: Power, now: datetime, seconds: float) -> None:
        """The last ``seconds`` before ``now`` at ``power``, for a run or for none."""
        self._tape.add(run, power, now, seconds)

    def tokens(self, run: str, count: int) -> None:
        """So many were trained just now."""
        self._tape.tokens(run, count)

    def write(self, tx: Transaction, now: datetime, *, everything: bool = False) -> int:
        """Write the minutes that are over; ``written`` must follow once they are durable."""
        stretches = self._tape.complete(now, everything=everything)
        if stretches:
            tx.ledger.add(self._rated(tx, stretches))
        return len(stretches)

    def written(self, count: int) -> None:
        """The transaction of the last ``write`` is durable."""
        self._tape.drop(count)

    def _rated(self, tx: Transaction, stretches: Sequence[Stretch]) -> list[Entry]:
        start, end = _span(stretches)
        tariff = self._prices.tariff(end + _AHEAD)
        if tariff is None:
            return [row for stretch in stretches for row in split(stretch, ())]
        used = used_kwh(tx, tariff, start)
        slots = _around(tariff, start, end, used)
        digest = self._prices.digest
        return [
            row for stretch in stretches for row in split(stretch, slots, tariff.currency, digest)
        ]

    # --- the chore --------------------------------------------------------------------------

    def rate_again(self, store: Store, now: datetime) -> int:
        """Rate what was written with a forecast or without a price, or whose price was revised.

        Only rows of the tariff that is configured now: what an older one said, it said. Old
        ratings stay. Returns how many rows have a new one; doing it again changes nothing.
        """
        if not self._prices.digest:
            return 0
        with self._rating:
            try:
                return self._rate_again(store, now)
            except StoreFailed as error:
                log.warning("the ledger is not rated again now: %s", error.message)
                return 0

    def _rate_again(self, store: Store, now: datetime) -> int:
        since = self._rated_until or now - _BACK
        revisions = self._prices.revisions(since)
        with store.transaction() as tx:
            due = tx.ledger.unsettled(self._prices.digest, now - _BACK)
            if revisions:
                due += self._revised(tx, revisions)
        ratings = self._new_ratings(store, due)
        if ratings:
            with store.transaction() as tx:
                tx.ledger.rate(ratings, now)
                tx.journal.write(
                    "ledger_rated_again",
                    f"{len(ratings)} rows of the energy ledger have a new price.",
                    now,
                    data={"rows": len(ratings)},
                )
        self._rated_until = now
        return len(ratings)

    def _revised(self, tx: Transaction, revisions: Sequence[Revision]) -> list[Entry]:
        start = min(revision.start for revision in revisions)
        end = max(revision.end for revision in revisions)
        return [
            entry
            for entry in tx.ledger.entries(start - LONGEST, end)
            if entry.rating.tariff == self._prices.digest
            and entry.rating.certainty not in UNSETTLED
            and any(r.start < entry.end and entry.start < r.end for r in revisions)
        ]

    def _new_ratings(self, store: Store, due: Sequence[Entry]) -> list[tuple[Entry, Rating]]:
        if not due:
            return []
        start, end = _span(due)
        tariff = self._prices.tariff_between(start - _AHEAD, end + _AHEAD)
        if tariff is None:
            return []
        series = PriceSeries(tariff.currency, _around(tariff, start, end, Decimal(0)))
        found = []
        for entry in due:
            if _tiered(tariff):
                with store.transaction() as tx:
                    used = used_kwh(tx, tariff, entry.start)
                tiered = _around(tariff, entry.start, entry.end, used)
                series = PriceSeries(tariff.currency, tiered)
            near = series.between(entry.start, entry.end)
            rating = rate(entry.start, entry.end, near, tariff.currency, self._prices.digest)
            # a forecast is better than nothing while nothing was published
            worse = rating.price is None and entry.rating.certainty == "forecast"
            if rating != entry.rating and not worse:
                found.append((entry, rating))
        return found


def everything(store: Store) -> list[Entry]:
    """All rows in the order of time, read in pages so that nobody waits long for the store."""
    found: list[Entry] = []
    while True:
        with store.transaction() as tx:
            page = tx.ledger.page(found[-1].id if found else 0, _PAGE)
        found += page
        if len(page) < _PAGE:
            return sorted(found, key=lambda entry: (entry.start, entry.id))


def used_kwh(tx: Transaction, tariff: Tariff, moment: datetime) -> Decimal:
    """What runs used in the billing period before ``moment``, where the price depends on it."""
    if not _tiered(tariff):
        return Decimal(0)
    start, _ = tariff.billing_period(moment)
    return kwh(tx.ledger.used_microjoules(start, moment))


def _tiered(tariff: Tariff) -> bool:
    return any(isinstance(part, Tiered) for part in tariff.components)


def _around(tariff: Tariff, start: datetime, end: datetime, used: Decimal) -> tuple[PriceSlot, ...]:
    """The slots that touch [start, end), from a full hour on: none is longer than an hour."""
    first = start.replace(minute=0, second=0, microsecond=0)
    return tariff.slots(first, end + _AHEAD, used)


def _span(items: Sequence[Stretch] | Sequence[Entry]) -> tuple[datetime, datetime]:
    return min(item.start for item in items), max(item.end for item in items)
