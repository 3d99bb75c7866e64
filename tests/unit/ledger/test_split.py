"""Energy over price slots: the sum of the rows is the energy, exactly, and money is its price."""

from __future__ import annotations

import itertools
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger.entry import MICROJOULES_PER_KWH, UNRATED, Stretch, cost_of
from orchestrator.ledger.split import rate, split
from orchestrator.tariff.slots import PriceSlot, Source
from tests.unit.tariff.support import HOUR, QUARTER, series, tariff, utc

START = utc("2026-12-01T10:00")


def stretch(seconds: float, kwh: str = "1", offset: float = 0, tokens: int = 0) -> Stretch:
    start = START + timedelta(seconds=offset)
    energy = int(Decimal(kwh) * MICROJOULES_PER_KWH)
    end = start + timedelta(seconds=seconds)
    return Stretch("month", start, end, energy, "nvml", True, tokens)


@given(
    seconds=st.integers(1, 20_000_000).map(lambda value: value / 1000),
    offset=st.integers(0, 7_200_000).map(lambda value: value / 1000),
    energy=st.integers(0, 10**15),
    tokens=st.integers(0, 10**9),
    prices=st.lists(st.decimals(-1, 1, places=5), min_size=0, max_size=40),
)
def test_the_sum_of_the_rows_is_the_integral_exactly(
    seconds: float, offset: float, energy: int, tokens: int, prices: list[Decimal]
) -> None:
    whole = Stretch(
        None,
        START + timedelta(seconds=offset),
        START + timedelta(seconds=offset + seconds),
        energy,
        "plug",
        True,
        tokens,
    )
    rows = split(whole, series(START, map(str, prices), QUARTER).slots, "EUR", "t")
    assert sum(row.microjoules for row in rows) == energy
    assert sum(row.tokens for row in rows) == tokens
    assert all(row.microjoules >= 0 and row.tokens >= 0 for row in rows)
    assert rows[0].start == whole.start
    assert rows[-1].end == whole.end
    assert all(a.end == b.start for a, b in itertools.pairwise(rows))
    for row in rows:
        assert row.cost == cost_of(row.microjoules, row.rating.price)


def test_a_row_ends_where_its_price_does() -> None:
    slots = series(START, ["0.30", "-0.10"]).slots
    rows = split(stretch(7200, kwh="2"), slots, "EUR", "t")
    assert [(row.start, row.cost) for row in rows] == [
        (START, Decimal("0.3")),
        (START + HOUR, Decimal("-0.1")),
    ]
    assert {row.rating.certainty for row in rows} == {"published"}


def test_energy_without_a_price_has_an_unknown_cost_not_none_at_all() -> None:
    slots = series(START + HOUR, ["0.20"]).slots
    rows = split(stretch(3 * 3600, kwh="3"), slots, "EUR", "t")
    assert [row.cost for row in rows] == [None, Decimal("0.2"), None]
    assert [row.microjoules for row in rows] == [MICROJOULES_PER_KWH] * 3
    assert rows[0].rating.currency == "EUR"
    assert split(stretch(60), ())[0].rating == UNRATED


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-28T23:00", 23), ("2026-10-24T22:00", 25), ("2026-12-01T23:00", 24)]
)
def test_a_day_on_which_the_clocks_change_is_billed_by_its_own_hours(day: str, hours: int) -> None:
    start = utc(day)
    zones = [{"price_per_kwh": 0.10, "hours": "0-4"}]
    made = tariff(price_per_kwh=0.30, zones=zones)
    end = start + hours * HOUR
    energy = hours * MICROJOULES_PER_KWH
    rows = split(
        Stretch("month", start, end, energy, "nvml", True), made.slots(start, end), "EUR", "t"
    )
    cheap = sum(row.seconds for row in rows if row.rating.price == Decimal("0.1")) / 3600
    assert cheap == hours - 20
    total = sum((row.cost for row in rows if row.cost is not None), Decimal(0))
    assert total == Decimal("0.1") * (hours - 20) + Decimal("0.3") * 20


def test_a_row_that_a_finer_market_cuts_in_two_costs_the_mean() -> None:
    slots = series(START, ["0.10", "0.30"], QUARTER).slots
    rating = rate(START + timedelta(minutes=10), START + timedelta(minutes=20), slots, "EUR", "t")
    assert rating.price == Decimal("0.2")
    beyond = rate(START + QUARTER, START + HOUR, slots, "EUR", "t")
    assert (beyond.price, beyond.certainty) == (None, "")


def test_a_forecast_is_marked() -> None:
    slots = [PriceSlot(START, START + HOUR, Decimal("0.2"), Source.FORECAST)]
    assert split(stretch(60), slots, "EUR", "t")[0].rating.certainty == "forecast"
