"""What is not to be believed, whoever published it. The old prices stay then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from orchestrator.tariff.services.base import FetchFailed, Trouble
from orchestrator.tariff.slots import PriceSeries, PriceSlot

#: no kWh was ever sold for so much of these; European auctions stop at 5 EUR, Texas at 5 USD,
#: Australia below 20 AUD
_CEILING = Decimal(50)
_STRONG_CURRENCIES = ("AUD", "CAD", "CHF", "EUR", "GBP", "NZD", "SGD", "USD")
#: a unit mistaken for another one is off by 100 or 1000; crises are not
_TOO_HIGH, _TOO_LOW = Decimal(50), Decimal(80)
#: so many slots make a level that can be compared
_ENOUGH_KNOWN, _ENOUGH_NEW = 24, 12
#: a day more on either side is another reading of "day"; two are another day
_MARGIN = timedelta(days=1)


def check(series: PriceSeries, start: datetime, end: datetime, known: PriceSeries) -> None:
    """Return if it can be believed.

    Raises:
        FetchFailed: RUBBISH, with the reason.

    Args:
        series: what came, for [start, end).
        known: the prices of the last weeks, to compare the level with.
    """
    reason = (
        _form(series.slots)
        or _day(series.slots, start, end)
        or _ceiling(series)
        or _level(series.slots, known.slots)
    )
    if reason:
        raise FetchFailed(Trouble.RUBBISH, reason)


def _form(slots: Sequence[PriceSlot]) -> str:
    for slot in slots:
        if not slot.price.is_finite():
            return f"{_time(slot)} has no number for a price"
        if slot.start >= slot.end:
            return f"{_time(slot)} ends before it begins"
        if any((edge.second, edge.microsecond) != (0, 0) for edge in (slot.start, slot.end)):
            return f"{_time(slot)} is not on a full minute"
    for before, after in pairwise(slots):
        if after.start < before.start:
            return f"{_time(after)} stands behind a later one"
        if after.start < before.end:
            return f"{_time(after)} begins before the one before it ends"
    return ""


def _day(slots: Sequence[PriceSlot], start: datetime, end: datetime) -> str:
    if any(slot.start < end and slot.end > start for slot in slots):
        inside = all(slot.start >= start - _MARGIN and slot.end <= end + _MARGIN for slot in slots)
        return "" if inside else f"prices far outside of {start:%F} to {end:%F} came along"
    return f"prices of {slots[0].start:%F} came for {start:%F}" if slots else ""


def _ceiling(series: PriceSeries) -> str:
    if series.currency not in _STRONG_CURRENCIES:
        return ""
    highest = max(series.slots, key=lambda slot: abs(slot.price), default=None)
    if highest is None or abs(highest.price) <= _CEILING:
        return ""
    return f"{highest.price:f} {series.currency} per kWh at {highest.start:%FT%H:%MZ}"


def _level(new: Sequence[PriceSlot], known: Sequence[PriceSlot]) -> str:
    if len(new) < _ENOUGH_NEW or len(known) < _ENOUGH_KNOWN:
        return ""
    here, before = _high(new), _high(known)
    if before and here > before * _TOO_HIGH:
        return f"prices {here / before:.0f} times as high as before: another unit?"
    if before and here * _TOO_LOW < before:
        return f"prices more than {_TOO_LOW} times as low as before: another unit?"
    return ""


def _high(slots: Sequence[PriceSlot]) -> Decimal:
    """The price that a tenth of the slots exceed, whatever the sign: a median may be about 0."""
    ordered = sorted(abs(slot.price) for slot in slots)
    return ordered[len(ordered) * 9 // 10]


def _time(slot: PriceSlot) -> str:
    return f"the slot of {slot.start:%Y-%m-%dT%H:%M:%SZ}"
