"""Prices beyond what is published."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from orchestrator.tariff.forecast import extend
from orchestrator.tariff.slots import PriceSeries, Source
from tests.unit.tariff.support import DAY, HOUR, QUARTER, series, utc

BERLIN = ZoneInfo("Europe/Berlin")
#: a Monday, midnight in Berlin
MONDAY = utc("2026-11-01T23:00")


def guessed(known: PriceSeries, start: datetime, hours: int = 24) -> list[float]:
    made = extend(known, start, start + hours * HOUR, BERLIN)
    slots = [slot for slot in made.slots if slot.start >= start]
    assert {slot.source for slot in slots} == {Source.FORECAST}
    assert slots[0].start == start
    assert all(before.end == after.start for before, after in pairwise(slots))
    return [float(slot.price) for slot in slots]


def test_four_weeks_come_again_at_the_same_weekday_and_time() -> None:
    prices = [day + hour / 100 for day in range(28) for hour in range(24)]
    known = series(MONDAY, prices)
    end = MONDAY + 28 * DAY
    level = (sum(prices[-168:]) / 168 - sum(prices) / 672) / 2
    first, later = guessed(known, end, 24), guessed(known, end + 5 * DAY, 24)
    assert first == pytest.approx([hour / 100 + level for hour in range(24)])
    assert later == pytest.approx([5 + hour / 100 + level for hour in range(24)])
    # the block repeats, so that a deadline of months has prices to the end
    assert guessed(known, end + 61 * DAY, 3) == pytest.approx(
        [5 + level, 5.01 + level, 5.02 + level]
    )


def test_the_level_moves_half_way_to_that_of_the_last_week() -> None:
    known = series(MONDAY, [0.10] * 21 * 24 + [0.30] * 7 * 24)
    # mean 0.15, last week 0.30: shifted by 0.075
    assert guessed(known, MONDAY + 28 * DAY, 1) == [pytest.approx(0.175)]


def test_only_the_last_four_weeks_count() -> None:
    known = series(MONDAY, [9.0] * 7 * 24 + [0.2] * 28 * 24)
    assert set(guessed(known, MONDAY + 35 * DAY, 48)) == {0.2}


def test_after_the_clocks_change_the_evening_peak_stays_in_the_evening() -> None:
    start = utc("2026-09-27T22:00")  # Monday, midnight in summer time
    day = [0.1] * 18 + [0.5] * 2 + [0.1] * 4
    known = series(start, day * 27 + [0.1])  # the last day has 25 hours
    forecast = extend(known, utc("2026-10-25T23:00"), utc("2026-10-26T23:00"), BERLIN)
    dear = [
        slot.start.astimezone(BERLIN).hour for slot in forecast.slots if slot.price > Decimal("0.4")
    ]
    assert dear[-2:] == [18, 19]


def test_two_weeks_of_history_repeat_as_two_weeks() -> None:
    prices = [week + 0.0 for week in range(2) for _ in range(168)]
    known = series(MONDAY, prices)
    # mean 0.5, last week 1: shifted by 0.25
    assert guessed(known, MONDAY + 14 * DAY, 1) == [0.25]
    assert guessed(known, MONDAY + 21 * DAY, 1) == [1.25]
    assert guessed(known, MONDAY + 28 * DAY, 1) == [0.25]


def test_a_few_days_of_history_repeat_by_the_time_of_day() -> None:
    known = series(MONDAY, [hour / 100 for _ in range(3) for hour in range(24)])
    assert guessed(known, MONDAY + 3 * DAY) == [hour / 100 for hour in range(24)]
    assert guessed(known, MONDAY + 9 * DAY) == [hour / 100 for hour in range(24)]


def test_a_few_hours_of_history_are_all_there_is_to_go_by() -> None:
    known = series(MONDAY, [0.1, 0.3])
    prices = guessed(known, MONDAY + 2 * HOUR)
    assert prices[:3] == [0.2, 0.2, 0.2]
    assert prices[22:] == [0.1, 0.3]


def test_no_history_means_no_forecast_and_not_zero() -> None:
    nothing = PriceSeries("EUR", ())
    assert extend(nothing, MONDAY, MONDAY + DAY, BERLIN) == nothing


def test_a_hole_in_the_published_prices_is_filled_and_marked() -> None:
    first, second = series(MONDAY, [0.1] * 240), series(MONDAY + 243 * HOUR, [0.1] * 93)
    known = first.joined(second.slots)
    made = extend(known, MONDAY + 230 * HOUR, MONDAY + 336 * HOUR, BERLIN)
    assert list(made.gaps(MONDAY, MONDAY + 336 * HOUR)) == []
    assert sum(slot.source is Source.FORECAST for slot in made.slots) == 3


def test_a_hole_in_the_history_takes_another_week() -> None:
    first = series(MONDAY, [0.1] * 5)
    rest = series(MONDAY + 7 * HOUR, [0.2] * (28 * 24 - 7))
    known = first.joined(rest.slots)
    assert guessed(known, MONDAY + 28 * DAY + 5 * HOUR, 2) == pytest.approx([0.2, 0.2], abs=0.01)


def test_a_forecast_learns_nothing_from_forecasts() -> None:
    known = series(MONDAY, [0.1] * 168).joined(
        series(MONDAY + 168 * HOUR, [9] * 24, HOUR, Source.FORECAST).slots
    )
    assert set(guessed(known, MONDAY + 8 * DAY)) == {0.1}


def test_quarter_hours_are_forecast_in_quarter_hours_from_any_minute_on() -> None:
    known = series(MONDAY, [0.1] * 96, QUARTER)
    start = MONDAY + DAY
    made = extend(known, start + HOUR / 6, start + HOUR, BERLIN)
    forecast = [slot for slot in made.slots if slot.source is Source.FORECAST]
    assert [slot.seconds / 60 for slot in forecast] == [5, 15, 15, 15]
