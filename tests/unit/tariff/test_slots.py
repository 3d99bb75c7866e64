"""Series of slots."""

from __future__ import annotations

from decimal import Decimal

from orchestrator.tariff.slots import PriceSeries, Source, hourly
from tests.unit.tariff.support import HOUR, QUARTER, series, utc

START = utc("2026-11-24T00:00")
HOLEY = series(START, [1, 2]).joined(series(START + 3 * HOUR, [3]).slots)


def test_a_slot_holds_its_start_and_not_its_end() -> None:
    first = HOLEY.at(START)
    assert first is not None
    assert first.price == 1
    assert HOLEY.at(START + HOUR) == HOLEY.slots[1]
    assert HOLEY.at(START + 2 * HOUR) is None
    assert HOLEY.at(START - QUARTER) is None
    assert HOLEY.at(START + 4 * HOUR) is None


def test_between_takes_every_slot_that_it_touches() -> None:
    assert HOLEY.between(START + QUARTER, START + HOUR + QUARTER) == HOLEY.slots[:2]
    assert HOLEY.between(START + HOUR, START + 2 * HOUR) == HOLEY.slots[1:2]
    assert HOLEY.between(START - HOUR, START) == ()
    assert HOLEY.between(START + 4 * HOUR, START + 5 * HOUR) == ()
    assert PriceSeries("EUR", ()).between(START, START + HOUR) == ()


def test_gaps_are_what_is_not_covered() -> None:
    assert list(HOLEY.gaps(START - HOUR, START + 5 * HOUR)) == [
        (START - HOUR, START),
        (START + 2 * HOUR, START + 3 * HOUR),
        (START + 4 * HOUR, START + 5 * HOUR),
    ]
    assert list(HOLEY.gaps(START, START + 2 * HOUR)) == []


def test_hours_are_the_mean_of_their_parts_and_as_certain_as_the_least() -> None:
    quarters = series(START, [1, 2, 3, 4, 5], QUARTER)
    mixed = quarters.joined(series(START + 5 * QUARTER, [7] * 3, QUARTER, Source.FORECAST).slots)
    first, second = hourly(mixed.slots)
    assert (first.start, first.end, first.price) == (START, START + HOUR, Decimal("2.5"))
    assert first.source is Source.PUBLISHED
    assert (second.price, second.source) == (Decimal("6.5"), Source.FORECAST)


def test_hours_keep_gaps() -> None:
    assert hourly(HOLEY.slots) == HOLEY.slots
