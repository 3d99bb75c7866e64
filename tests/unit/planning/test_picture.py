"""The curve and the schedule in words."""

from __future__ import annotations

import math
from datetime import UTC, timedelta
from decimal import Decimal

from orchestrator.piloting.pilot_prices import TariffPrices, whole
from orchestrator.planning import schedule
from orchestrator.planning.picture import curve_lines, plan_lines
from orchestrator.planning.problem import Level, Machine
from orchestrator.tariff.report import view_of
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source
from orchestrator.tariff.table import TariffConfig
from orchestrator.tariff.tariff import Tariff
from tests.unit.planning.worlds import START, problem

DAY = [0.3 + 0.15 * math.sin((hour - 13) / 12 * math.pi) for hour in range(24)]
HOUR = timedelta(hours=1)


def test_the_curve_says_what_waiting_saves() -> None:
    text = curve_lines(schedule.curve(problem(DAY * 5, 24.0), 5), "EUR", UTC)
    assert text[-1].startswith("Finishing ")
    assert text[-1].endswith(" EUR.")
    bars = [line.count("█") for line in text[:5]]
    assert bars == sorted(bars, reverse=True)


def test_the_curve_says_so_when_there_is_nothing_to_save_or_to_choose() -> None:
    only_full = Machine((Level(None, 1.0, 250.0),))
    flat = problem([0.3] * 48, 24.0, machine=only_full)
    assert "next to nothing" in curve_lines(schedule.curve(flat, 4), "EUR", UTC)[-1]
    assert "does not fit" in curve_lines([], "EUR", UTC)[0]


def test_the_schedule_names_every_stretch_once() -> None:
    plan = schedule.by_deadline(problem(DAY * 2, 20.0))
    text = plan_lines(plan, START, 24, "EUR", UTC)
    assert any("waits (release)" in line for line in text)
    assert any(" W " in line for line in text)
    assert text[0].startswith("Tue 00:00 to ")
    full = schedule.by_deadline(problem([0.3], 1.0, machine=Machine((Level(None, 1.0, 250.0),))))
    assert "full power" in plan_lines(full, START, 9, "EUR", UTC)[0]


def price(hour: int, source: Source = Source.PUBLISHED) -> PriceSlot:
    return PriceSlot(START + HOUR * hour, START + HOUR * (hour + 1), Decimal(hour), source)


def test_slots_for_the_planner_have_no_gaps_and_know_what_is_a_forecast() -> None:
    found = whole([price(1), price(3, Source.FORECAST)], START, START + 5 * HOUR)
    assert [slot.start.hour for slot in found] == [0, 1, 2, 3, 4]
    assert [slot.known for slot in found] == [False, True, False, False, False]
    assert [slot.price for slot in found] == [1.0, 1.0, 1.0, 3.0, 3.0]
    assert whole([], START, START + HOUR) == ()


def test_a_fixed_tariff_is_known_up_to_the_deadline_and_none_is_known_at_all() -> None:
    class Keeper:
        def __init__(self, config: TariffConfig) -> None:
            self.config = config

        def view(self) -> object:
            return view_of(self.config, PriceSeries("EUR", ()), None, START)

        def tariff(self, until: object) -> Tariff | None:
            from orchestrator.tariff.build import tariff_of

            return tariff_of(self.config)

    end = START + timedelta(days=3)
    fixed = TariffPrices(Keeper(TariffConfig(currency="EUR", price_per_kwh=Decimal("0.3"))), end)  # type: ignore[arg-type] # a double
    assert fixed.known_until(START) == end
    assert {slot.price for slot in fixed.slots(START, end)} == {0.3}
    none = TariffPrices(Keeper(TariffConfig()), end)  # type: ignore[arg-type] # a double
    assert none.slots(START, end) == ()
