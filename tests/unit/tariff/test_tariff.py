"""What a kWh costs at which time, in UTC slots that follow the clock on the wall."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.tariff.build import tariff_of
from orchestrator.tariff.slots import PriceSeries, Source
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff.support import DAY, HOUR, QUARTER, config, hours_at, series, tariff, utc

NIGHT_AND_DAY = [
    {"price_per_kwh": 0.30},
    {"price_per_kwh": 0.20, "hours": "22-6"},
]
#: local midnight to local midnight in Berlin, by the kind of day
SPRING = utc("2026-03-28T23:00"), utc("2026-03-29T22:00")
AUTUMN = utc("2026-10-24T22:00"), utc("2026-10-25T23:00")


def test_nothing_configured_is_no_tariff() -> None:
    assert tariff_of(TariffConfig()) is None


def test_a_flat_price_is_the_sum_of_its_parts_with_vat() -> None:
    flat = tariff(price_per_kwh=0.10, adders={"grid": 0.08, "levies": 0.02}, vat=0.19)
    (slot,) = flat.slots(utc("2026-11-24T10:00"), utc("2026-11-24T11:00"))
    assert slot.price == Decimal("0.2380")
    assert slot.source is Source.FIXED


def test_fixed_prices_come_in_hours_cut_at_both_ends() -> None:
    slots = tariff(price_per_kwh=1).slots(utc("2026-11-24T10:20"), utc("2026-11-24T12:10"))
    assert [(slot.start, slot.end) for slot in slots] == [
        (utc("2026-11-24T10:20"), utc("2026-11-24T11:00")),
        (utc("2026-11-24T11:00"), utc("2026-11-24T12:00")),
        (utc("2026-11-24T12:00"), utc("2026-11-24T12:10")),
    ]


def test_the_last_zone_that_matches_counts() -> None:
    zones = [
        {"price_per_kwh": 1},
        {"price_per_kwh": 2, "days": "Mo-Fr"},
        {"price_per_kwh": 3, "days": "Tu", "hours": "18-21"},
        {"price_per_kwh": 4, "dates": ["2026-12-01"], "hours": "20-24"},
    ]
    made = tariff(zones=zones, time_zone="UTC")
    price = {
        "2026-11-29T19:00": 1,  # Sunday
        "2026-11-30T19:00": 2,
        "2026-12-01T17:59": 2,
        "2026-12-01T18:00": 3,
        "2026-12-01T20:00": 4,
        "2026-12-02T20:00": 2,
    }
    for when, expected in price.items():
        slot = made.at(utc(when))
        assert slot is not None
        assert slot.price == expected, when


def test_listed_holidays_are_days_of_their_own() -> None:
    zones = [{"price_per_kwh": 5, "days": "Mo-Fr"}, {"price_per_kwh": 2, "days": "Sa,Su,PH"}]
    made = tariff(zones=zones, holidays=["12-25", "2026-12-24"], time_zone="UTC")
    prices = [
        slot.price for slot in made.slots(utc("2026-12-23T12:00"), utc("2026-12-28T00:00"))[::24]
    ]
    assert prices == [5, 2, 2, 2, 2]


def test_the_day_that_loses_an_hour_has_23() -> None:
    slots = tariff(zones=NIGHT_AND_DAY).slots(*SPRING)
    assert hours_at(slots, "0.2") == 7
    assert hours_at(slots, "0.3") == 16
    assert len(slots) == 23


def test_the_day_that_gains_an_hour_has_25() -> None:
    slots = tariff(zones=NIGHT_AND_DAY).slots(*AUTUMN)
    assert hours_at(slots, "0.2") == 9
    assert hours_at(slots, "0.3") == 16
    assert len(slots) == 25


def test_a_repeated_hour_costs_the_same_twice_and_a_skipped_one_never() -> None:
    zones = [{"price_per_kwh": 1}, {"price_per_kwh": 9, "hours": "2-3"}]
    assert hours_at(tariff(zones=zones).slots(*AUTUMN), "9") == 2
    assert hours_at(tariff(zones=zones).slots(*SPRING), "9") == 0
    assert (
        hours_at(tariff(zones=zones).slots(utc("2026-11-01T23:00"), utc("2026-11-02T23:00")), "9")
        == 1
    )


def test_a_utility_that_keeps_standard_time_all_year_has_no_such_days() -> None:
    pacific = tariff(zones=NIGHT_AND_DAY, time_zone="UTC-8")
    slots = pacific.slots(utc("2026-03-08T08:00"), utc("2026-03-09T08:00"))
    assert hours_at(slots, "0.2") == 8
    assert slots[0].start == utc("2026-03-08T08:00")
    assert slots[5].price == Decimal("0.2")
    assert slots[6].price == Decimal("0.3")  # 06:00 at UTC-8 is 14:00 UTC


def test_zones_on_odd_quarters_and_odd_offsets_are_cut_where_they_change() -> None:
    zones = [{"price_per_kwh": 1}, {"price_per_kwh": 2, "hours": "2:30-5:15"}]
    slots = tariff(zones=zones, time_zone="UTC+05:45").slots(
        utc("2026-06-01T18:15"), utc("2026-06-02T18:15")
    )
    dear = [slot for slot in slots if slot.price == 2]
    assert dear[0].start == utc("2026-06-01T20:45")
    assert dear[-1].end == utc("2026-06-01T23:30")


@pytest.mark.parametrize(
    ("span", "count"),
    [(SPRING, 92), (AUTUMN, 100), ((utc("2026-06-01T22:00"), utc("2026-06-02T22:00")), 96)],
)
def test_quarter_hours_of_a_market_stay_apart_even_at_the_same_price(
    span: tuple[datetime, datetime], count: int
) -> None:
    start, end = span
    market = series(start, [0.05] * count, QUARTER)
    assert market.slots[-1].end == end
    slots = tariff(market, service="energy_charts", area="DE-LU", adders={"grid": 0.1}).slots(*span)
    assert len(slots) == count
    assert {slot.price for slot in slots} == {Decimal("0.15")}


def test_an_hour_of_the_market_is_cut_where_the_grid_fee_changes() -> None:
    market = series(utc("2026-11-24T00:00"), [0.1, 0.2])
    zones = [{"price_per_kwh": 0.01}, {"price_per_kwh": 0.05, "hours": "1:30-2:15"}]
    slots = tariff(market, service="awattar", area="DE", zones=zones, time_zone="UTC").slots(
        utc("2026-11-24T00:00"), utc("2026-11-24T02:00")
    )
    assert [(slot.seconds / 60, slot.price) for slot in slots] == [
        (60, Decimal("0.11")),
        (30, Decimal("0.21")),
        (30, Decimal("0.25")),
    ]
    assert {slot.source for slot in slots} == {Source.PUBLISHED}


def test_a_negative_price_stays_negative_with_vat_on_it() -> None:
    market = series(utc("2026-05-01T11:00"), [-0.5])
    made = tariff(market, service="awattar", area="DE", adders={"grid": 0.1}, vat=0.2)
    (slot,) = made.slots(utc("2026-05-01T11:00"), utc("2026-05-01T12:00"))
    assert slot.price == Decimal("-0.48")


def test_vat_is_not_put_twice_on_prices_that_carry_it() -> None:
    market = series(utc("2026-05-01T11:00"), [0.21])
    keys = {"service": "octopus", "area": "C", "product": "AGILE", "currency": "GBP", "vat": 0.05}
    once = tariff(market, adders={"margin": 0.1}, **keys).at(utc("2026-05-01T11:00"))
    twice = tariff(market, price_includes_vat=False, **keys).at(utc("2026-05-01T11:00"))
    assert once is not None
    assert twice is not None
    assert once.price == Decimal("0.315")
    assert twice.price == Decimal("0.2205")


def test_a_missing_price_is_a_gap_and_never_zero() -> None:
    start = utc("2026-11-24T00:00")
    market = PriceSeries(
        "EUR", (*series(start, [0.1]).slots, *series(start + 2 * HOUR, [0.3]).slots)
    )
    made = tariff(market, service="awattar", area="DE", adders={"grid": 0.1})
    slots = made.slots(start, start + 4 * HOUR)
    assert [slot.start for slot in slots] == [start, start + 2 * HOUR]
    assert made.at(start + HOUR) is None
    assert tariff(None, service="awattar", area="DE").slots(start, start + DAY) == ()


def test_times_that_no_zone_covers_have_no_price_unless_one_is_given() -> None:
    zones = [{"price_per_kwh": 1, "hours": "6-22"}]
    start, end = utc("2026-11-23T23:00"), utc("2026-11-24T23:00")
    assert len(tariff(zones=zones).slots(start, end)) == 16
    whole = tariff(zones=zones, price_per_kwh=0.5).slots(start, end)
    assert hours_at(whole, "0.5") == 8


def test_forecast_is_told_from_published_in_every_sum() -> None:
    start = utc("2026-11-24T00:00")
    mixed = series(start, [0.1]).joined(series(start + HOUR, [0.2], HOUR, Source.FORECAST).slots)
    slots = tariff(mixed, service="awattar", area="DE", adders={"a": 1}).slots(start, start + DAY)
    assert [slot.source for slot in slots] == [Source.PUBLISHED, Source.FORECAST]


# --- tiers ----------------------------------------------------------------------------------


def taipower(other: float = 0, **keys: object) -> TariffConfig:
    return TariffConfig.model_validate(
        {"preset": "taipower-residential", "other_kwh_per_month": other, **keys}, context="file"
    )


@pytest.mark.parametrize(
    ("other_per_month", "used", "winter", "summer"),
    [
        (0, 0, "1.78", "1.78"),
        (0, 239, "1.78", "1.78"),  # two months: the first block is 240 kWh
        (0, 240, "2.26", "2.55"),
        (300, 0, "2.26", "2.55"),
        (300, 100, "3.13", "3.80"),
        (480, 190, "4.24", "5.14"),  # a month of the card pushes it over the next border
        (1500, 0, "7.03", "8.86"),
    ],
)
def test_the_marginal_price_is_that_of_the_block_the_household_is_in(
    other_per_month: float, used: float, winter: str, summer: str
) -> None:
    made = tariff_of(taipower(other_per_month))
    assert made is not None
    for when, expected in (("2026-01-15T04:00", winter), ("2026-07-15T04:00", summer)):
        slot = made.at(utc(when), Decimal(str(used)))
        assert slot is not None
        assert slot.price == Decimal(expected)


def test_summer_begins_at_midnight_in_taipei() -> None:
    made = tariff_of(taipower(400))
    assert made is not None
    slots = made.slots(utc("2026-05-31T15:00"), utc("2026-05-31T17:00"))
    assert [slot.price for slot in slots] == [Decimal("3.13"), Decimal("3.80")]


def test_time_of_use_preset_follows_weekdays_seasons_and_listed_days() -> None:
    made = tariff_of(
        TariffConfig.model_validate({"preset": "taipower-tou", "holidays": ["2026-10-09"]})
    )
    assert made is not None
    hours = {
        "2026-10-08T02:00": "4.93",  # Thursday 10:00
        "2026-10-08T04:00": "1.99",  # 12:00, between the two peaks
        "2026-10-09T02:00": "1.99",  # an off-peak day
        "2026-10-10T02:00": "1.99",  # Saturday
        "2026-07-16T15:00": "5.16",  # 23:00
        "2026-07-16T16:00": "2.06",
    }
    for when, expected in hours.items():
        slot = made.at(utc(when))
        assert slot is not None
        assert slot.price == Decimal(expected), when
    dear = made.at(utc("2026-10-08T04:00"), Decimal(2000))
    assert dear is not None
    assert dear.price == Decimal("3.03")


@pytest.mark.parametrize(
    ("keys", "when", "start", "end"),
    [
        ({}, "2026-11-24T12:00", "2026-10-31T23:00", "2026-11-30T23:00"),
        ({"billing_day": 15}, "2026-11-14T22:59", "2026-10-14T22:00", "2026-11-14T23:00"),
        ({"billing_day": 15}, "2026-11-14T23:00", "2026-11-14T23:00", "2026-12-14T23:00"),
        ({"billing_day": 31}, "2026-03-01T12:00", "2026-02-27T23:00", "2026-03-30T22:00"),
        ({"billing_months": 2}, "2026-12-24T12:00", "2026-10-31T23:00", "2026-12-31T23:00"),
        (
            {"billing_months": 2, "billing_first_month": 12},
            "2027-01-05T12:00",
            "2026-11-30T23:00",
            "2027-01-31T23:00",
        ),
    ],
)
def test_a_bill_runs_from_one_meter_reading_to_the_next(
    keys: dict[str, Any], when: str, start: str, end: str
) -> None:
    made = tariff(price_per_kwh=1, **keys)
    assert made.billing_period(utc(when)) == (utc(start), utc(end))


# --- properties -----------------------------------------------------------------------------

_ZONE_TEXTS = st.fixed_dictionaries(
    {"price_per_kwh": st.integers(-5, 5)},
    optional={
        "days": st.sampled_from(["Mo-Fr", "Sa,Su", "Fr-Mo", "PH"]),
        "hours": st.sampled_from(["22-6", "0-24", "1:15-2:45", "2-3,18-21"]),
        "months": st.sampled_from(["Oct-Mar", "Jun", "Mar,Oct"]),
        "dates": st.sampled_from([["03-29"], ["10-20..10-31"], ["2026-03-01..2026-03-30"]]),
    },
)


@settings(max_examples=40, deadline=None)
@given(
    zones=st.lists(_ZONE_TEXTS, max_size=4),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "UTC-8", "Australia/Lord_Howe"]),
    minutes=st.integers(0, 270 * 24 * 60),
    hours=st.integers(1, 60),
)
def test_slots_cover_the_time_once_and_say_the_price_of_every_minute(
    zones: list[dict[str, object]], zone: str, minutes: int, hours: int
) -> None:
    made = tariff(zones=zones, time_zone=zone, price_per_kwh=7, holidays=["2026-04-03"])
    begins = utc("2026-03-01T00:00") + timedelta(minutes=minutes)
    ends = begins + timedelta(hours=hours)
    slots = made.slots(begins, ends)
    assert slots[0].start == begins
    assert slots[-1].end == ends
    assert all(before.end == after.start for before, after in pairwise(slots))
    for slot in slots:
        assert slot.end - slot.start <= HOUR
        last = slot.end - timedelta(minutes=1)
        here = made.at(last)
        assert here is not None
        assert here.price == slot.price
        # cutting it anywhere does not change what it says
        assert made.slots(last, slot.end)[0].price == slot.price


def test_the_configuration_that_the_tests_use_is_one() -> None:
    assert config(price_per_kwh=1).configured
