"""Prices as they were, and as much of them as was published at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from decimal import Decimal

from orchestrator.planning.problem import Slot
from orchestrator.tariff.forecast import extend
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.publication import next_publication, published_until
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source
from orchestrator.tariff.timezone import zone_of

#: as far as the forecast looks back, and a day
_BACK = timedelta(days=29)
#: by currency, where a file's prices are taken to be from
_BY_CURRENCY = {
    "GBP": MARKETS["octopus"],
    "USD": Market("csv_file", "a US market", (), zone="America/Chicago", publishes=time(13, 30)),
}


def market_of(currency: str) -> Market:
    """The market that a file of this currency is taken to be from; Europe's by default."""
    return _BY_CURRENCY.get(currency, MARKETS["energy_charts"])


@dataclass(frozen=True)
class Adders:
    """What comes on top of a file's price: (price + fees) * (1 + vat)."""

    per_kwh: Decimal = Decimal(0)
    vat: Decimal = Decimal(0)

    def of(self, price: Decimal) -> Decimal:
        """The price that the household pays."""
        return (price + self.per_kwh) * (1 + self.vat)


class FilePrices:
    """A price series that becomes known day by day, as its market publishes."""

    def __init__(self, series: PriceSeries, adders: Adders) -> None:
        self.currency = series.currency
        self._market = market_of(series.currency)
        self.zone: tzinfo = zone_of(self._market.zone)
        self._series = PriceSeries(
            series.currency,
            tuple(
                PriceSlot(slot.start, slot.end, adders.of(slot.price), slot.source)
                for slot in series.slots
            ),
        )

    @property
    def first(self) -> datetime:
        """Where the file begins."""
        return self._series.slots[0].start

    @property
    def last(self) -> datetime:
        """Where it ends."""
        return self._series.slots[-1].end

    def truth(self, start: datetime, end: datetime) -> tuple[Slot, ...]:
        """What was paid; a missing price is billed at a forecast."""
        known = PriceSeries(self.currency, self._series.between(start - _BACK, end))
        slots = _cut(extend(known, start, end, self.zone).between(start, end), start, end)
        return tuple(Slot(s.start, s.end, float(s.price)) for s in slots)

    def missing_hours(self, start: datetime, end: datetime) -> float:
        """The hours without a price."""
        gaps = self._series.gaps(start, end)
        return sum(((b - a) / timedelta(hours=1) for a, b in gaps), 0.0)

    def known_until(self, now: datetime) -> datetime:
        """See ``pilot.Prices``."""
        return max(now, published_until(self._market, now) or now)

    def next_news(self, now: datetime) -> datetime | None:
        """When something is published next."""
        return next_publication(self._market, now)

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """See ``pilot.Prices``: nothing that was not published at ``now`` is looked at."""
        until = self.known_until(now)
        known = tuple(s for s in self._series.between(now - _BACK, until) if s.end <= until)
        full = extend(PriceSeries(self.currency, known), now, end, self.zone)
        return tuple(
            Slot(s.start, s.end, float(s.price), s.source is not Source.FORECAST)
            for s in _cut(full.between(now, end), now, end)
        )


class FixedPrices:
    """A tariff that is known for ever."""

    def __init__(
        self,
        currency: str,
        zone: tzinfo,
        slots: Callable[[datetime, datetime], Sequence[PriceSlot]],
        end: datetime,
    ) -> None:
        self.currency, self.zone = currency, zone
        self._slots, self._end = slots, end

    def truth(self, start: datetime, end: datetime) -> tuple[Slot, ...]:
        """What is paid."""
        return self.slots(start, end)

    def missing_hours(self, start: datetime, end: datetime) -> float:
        """Nothing is ever missing."""
        return 0.0

    def known_until(self, now: datetime) -> datetime:
        """See ``pilot.Prices``."""
        return self._end

    def next_news(self, now: datetime) -> datetime | None:
        """Never."""
        return None

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """See ``pilot.Prices``."""
        found = _cut(self._slots(now, end), now, end)
        return tuple(Slot(s.start, s.end, float(s.price)) for s in found)


class Truth:
    """What was paid, by time."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self._starts = [slot.start for slot in slots]

    def between(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, float]]:
        """[start, end) cut at the slots' borders, each with its price."""
        index = max(0, bisect_right(self._starts, start) - 1)
        while start < end:
            last = index + 1 >= len(self.slots)
            until = end if last else min(end, self.slots[index].end)
            yield start, until, self.slots[index].price
            start, index = until, index + 1


def _cut(slots: Sequence[PriceSlot], start: datetime, end: datetime) -> list[PriceSlot]:
    return [
        PriceSlot(max(s.start, start), min(s.end, end), s.price, s.source)
        for s in slots
        if s.end > start and s.start < end
    ]
