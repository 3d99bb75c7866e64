"""What is not believed, with the reason."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.tariff.sanity import check
from orchestrator.tariff.services.base import FetchFailed, Trouble
from orchestrator.tariff.slots import PriceSeries, PriceSlot
from tests.unit.tariff.support import DAY, HOUR, series, utc

START = utc("2026-11-23T23:00")
END = START + DAY
NOTHING = PriceSeries("EUR", ())
USUAL = [0.05 + hour / 200 for hour in range(24)]
WEEKS = series(START - 14 * DAY, USUAL * 14)


def refusal(new: PriceSeries, known: PriceSeries = NOTHING) -> str:
    with pytest.raises(FetchFailed) as caught:
        check(new, START, END, known)
    assert caught.value.trouble is Trouble.RUBBISH
    return caught.value.reason


def test_an_ordinary_day_is_believed() -> None:
    check(series(START, USUAL), START, END, WEEKS)
    check(series(START, USUAL), START, END, NOTHING)


@pytest.mark.parametrize(
    "prices",
    [
        [-0.5] * 24,  # the lowest that an auction allows, all day
        [0.0] * 8 + [-0.02] * 8 + [0.05] * 8,  # a windy holiday
        [4.0] * 24,  # a scarcity day at nearly the highest
        [price * 6 for price in USUAL],  # the winter of 2022 against its summer
    ],
)
def test_an_extreme_day_is_believed(prices: list[float]) -> None:
    check(series(START, prices), START, END, WEEKS)


def test_a_part_of_a_day_and_gaps_are_believed() -> None:
    check(series(START, USUAL[:5]), START, END, WEEKS)
    check(
        series(START, USUAL[:5]).joined(series(START + 9 * HOUR, USUAL[:5]).slots),
        START,
        END,
        WEEKS,
    )


def test_a_unit_that_jumped_is_named() -> None:
    cents = series(START, [price * 100 for price in USUAL])
    assert refusal(cents, WEEKS) == "prices 100 times as high as before: another unit?"
    thousandth = series(START, [price / 1000 for price in USUAL])
    assert refusal(thousandth, WEEKS) == "prices more than 80 times as low as before: another unit?"


def test_without_a_history_no_price_above_all_auctions_is_believed() -> None:
    assert refusal(series(START, [90.5] * 24)) == "90.5 EUR per kWh at 2026-11-23T23:00Z"
    forints = PriceSeries("HUF", series(START, [90.5] * 24).slots)
    check(forints, START, END, NOTHING)


def test_another_day_is_named() -> None:
    assert refusal(series(START - 3 * DAY, USUAL)) == "prices of 2026-11-20 came for 2026-11-23"
    long = series(START - 5 * DAY, USUAL * 6)
    assert refusal(long) == "prices far outside of 2026-11-23 to 2026-11-24 came along"


@pytest.mark.parametrize(
    ("slots", "reason"),
    [
        ([(0, 2), (1, 3)], "begins before the one before it ends"),
        ([(1, 2), (0, 1)], "stands behind a later one"),
        ([(0, 0)], "ends before it begins"),
        ([(2, 1)], "ends before it begins"),
        ([(0, 1.001)], "is not on a full minute"),
    ],
)
def test_slots_that_cannot_be_are_named(slots: list[tuple[float, float]], reason: str) -> None:
    made = [PriceSlot(START + a * HOUR, START + b * HOUR, Decimal(1)) for a, b in slots]
    assert reason in refusal(PriceSeries("EUR", tuple(made)))


@pytest.mark.parametrize("price", ["NaN", "Infinity"])
def test_what_is_no_number_is_no_price(price: str) -> None:
    slots = (PriceSlot(START, START + HOUR, Decimal(price)),)
    assert "has no number for a price" in refusal(PriceSeries("EUR", slots))
