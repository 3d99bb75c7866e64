"""Price slots: spans of time with one price, in UTC, half-open [start, end)."""

from __future__ import annotations

import bisect
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property


class Source(enum.StrEnum):
    """How a price is known."""

    #: a market published it
    PUBLISHED = "published"
    #: nobody published it yet; it is guessed from the past
    FORECAST = "forecast"
    #: the contract says so, for any time
    FIXED = "fixed"


#: the least certain first: it names the source of what is made of several
CERTAINTY = (Source.FORECAST, Source.PUBLISHED, Source.FIXED)


@dataclass(frozen=True, slots=True)
class PriceSlot:
    """One price for the time from ``start`` up to, not including, ``end``; both in UTC."""

    start: datetime
    end: datetime
    #: money per kWh; negative prices are prices
    price: Decimal
    source: Source = Source.PUBLISHED

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True)
class PriceSeries:
    """Slots in the order of time that do not overlap. Where there is none, the price is missing."""

    currency: str
    slots: tuple[PriceSlot, ...]

    @cached_property
    def _starts(self) -> list[datetime]:
        return [slot.start for slot in self.slots]

    def at(self, moment: datetime) -> PriceSlot | None:
        """The slot that holds ``moment``; None where the price is missing."""
        index = bisect.bisect_right(self._starts, moment) - 1
        if index < 0 or self.slots[index].end <= moment:
            return None
        return self.slots[index]

    def between(self, start: datetime, end: datetime) -> tuple[PriceSlot, ...]:
        """The slots that touch [start, end), uncut."""
        first = max(0, bisect.bisect_right(self._starts, start) - 1)
        last = bisect.bisect_left(self._starts, end)
        return tuple(slot for slot in self.slots[first:last] if slot.end > start)

    def gaps(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans of [start, end) without a price."""
        reached = start
        for slot in self.between(start, end):
            if slot.start > reached:
                yield reached, slot.start
            reached = max(reached, slot.end)
        if reached < end:
            yield reached, end

    def joined(self, more: Iterable[PriceSlot]) -> PriceSeries:
        """The series with further slots, which must not overlap with those here."""
        slots = sorted((*self.slots, *more), key=lambda slot: slot.start)
        return PriceSeries(self.currency, tuple(slots))


def hourly(slots: Iterable[PriceSlot]) -> tuple[PriceSlot, ...]:
    """One slot an hour of UTC at most: the mean over what of that hour is priced.

    ``slots`` are in the order of time. The least certain part names the source; a gap inside an
    hour hides in it, a whole hour without a price stays a gap.
    """
    hours: dict[datetime, list[PriceSlot]] = {}
    for slot in slots:
        hours.setdefault(slot.start.replace(minute=0, second=0, microsecond=0), []).append(slot)
    return tuple(_mean_slot(parts) for parts in hours.values())


def _mean_slot(parts: list[PriceSlot]) -> PriceSlot:
    if len(parts) == 1:
        return parts[0]
    seconds = [Decimal(part.seconds) for part in parts]
    total = sum((part.price * span for part, span in zip(parts, seconds, strict=True)), Decimal(0))
    return PriceSlot(
        parts[0].start,
        parts[-1].end,
        total / sum(seconds),
        min((part.source for part in parts), key=CERTAINTY.index),
    )
