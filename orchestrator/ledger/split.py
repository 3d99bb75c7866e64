"""Energy between two instants over price slots: rows whose sum is the energy, exactly.

Inside a stretch the power counts as constant. Whole microjoules are dealt out by the running
total up to each border, so that nothing is lost or won by rounding, whatever the borders are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.ledger.entry import UNRATED, Entry, Rating, Stretch, cost_of
from orchestrator.tariff.slots import PriceSlot

_TICK = timedelta(microseconds=1)


def split(
    stretch: Stretch, slots: Sequence[PriceSlot], currency: str = "", tariff: str = ""
) -> list[Entry]:
    """The rows of one stretch; where no slot is, the price is unknown and the energy is not.

    Args:
        slots: in the order of time, not overlapping; those elsewhere do not matter.
        tariff: digest of the tariff that they are from.
    """
    borders = [stretch.start, *_borders(slots, stretch.start, stretch.end), stretch.end]
    total = (stretch.end - stretch.start) // _TICK
    rows, energy_before, tokens_before = [], 0, 0
    for start, end in itertools.pairwise(borders):
        last = end == stretch.end
        passed = (end - stretch.start) // _TICK
        energy = stretch.microjoules if last else stretch.microjoules * passed // total
        tokens = stretch.tokens if last else stretch.tokens * passed // total
        rating = _rating(slots, start, currency, tariff)
        rows.append(
            Entry(
                stretch.run,
                start,
                end,
                energy - energy_before,
                stretch.source,
                stretch.measured,
                tokens - tokens_before,
                rating,
                cost_of(energy - energy_before, rating.price),
            )
        )
        energy_before, tokens_before = energy, tokens
    return rows


def rate(
    start: datetime, end: datetime, slots: Sequence[PriceSlot], currency: str, tariff: str
) -> Rating:
    """The mean price over [start, end); unknown when any part of it is.

    A row lies in one slot when it is written. A market that goes from hours to quarters of an
    hour afterwards may leave it in two.
    """
    parts = split(Stretch(None, start, end, 1, "", measured=True), slots, currency, tariff)
    prices = [part.rating.price for part in parts]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return Rating(None, currency, "", tariff)
    if len(set(known)) == 1:
        return parts[0].rating
    ticks = [(part.end - part.start) // _TICK for part in parts]
    weighted = (price * tick for price, tick in zip(known, ticks, strict=True))
    mean = sum(weighted, Decimal(0)) / sum(ticks)
    return Rating(mean, currency, parts[0].rating.certainty, tariff)


def _borders(slots: Iterable[PriceSlot], start: datetime, end: datetime) -> list[datetime]:
    edges = {edge for slot in slots for edge in (slot.start, slot.end) if start < edge < end}
    return sorted(edges)


def _rating(slots: Sequence[PriceSlot], moment: datetime, currency: str, tariff: str) -> Rating:
    slot = next((slot for slot in slots if slot.start <= moment < slot.end), None)
    if slot is not None:
        return Rating(slot.price, currency, slot.source.value, tariff)
    return Rating(None, currency, "", tariff) if tariff else UNRATED
