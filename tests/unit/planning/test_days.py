"""Days of 23 and 25 hours: the tariff's slots go into a plan without gaps, and none is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from orchestrator.planning import schedule
from orchestrator.planning.problem import Machine, Problem, Slot, Standing
from orchestrator.tariff.forecast import extend
from orchestrator.tariff.slots import PriceSeries, PriceSlot
from tests.unit.planning.worlds import LEVELS

BERLIN = ZoneInfo("Europe/Berlin")
QUARTER = timedelta(minutes=15)


@pytest.mark.parametrize(
    ("day", "quarters"), [("2026-03-29", 92), ("2026-10-25", 100), ("2026-10-26", 96)]
)
def test_a_day_on_which_the_clocks_change_has_the_right_slots(day: str, quarters: int) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    end = (start.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=BERLIN)
    first = start.astimezone(UTC) - timedelta(days=28)
    history = tuple(
        PriceSlot(first + QUARTER * n, first + QUARTER * (n + 1), Decimal(n % 96) / 100)
        for n in range(28 * 96)
    )
    full = extend(PriceSeries("EUR", history), start.astimezone(UTC), end.astimezone(UTC), BERLIN)
    slots = tuple(
        Slot(s.start, s.end, float(s.price), known=False)
        for s in full.between(start.astimezone(UTC), end.astimezone(UTC))
    )
    assert len(slots) == quarters
    plan = schedule.by_deadline(Problem(slots, Machine(LEVELS), 10.0, Standing(on=True)))
    assert plan.finish is not None
    assert sum((part.end - part.start for part in plan.parts), timedelta()) <= timedelta(
        minutes=15 * quarters
    )


def test_the_account_of_a_plan_is_the_integral_of_price_and_power() -> None:
    start = datetime(2026, 12, 1, tzinfo=UTC)
    slots = tuple(
        Slot(start + QUARTER * n, start + QUARTER * (n + 1), ((n * 37) % 53 - 8) / 100)
        for n in range(192)
    )
    plan = schedule.by_deadline(Problem(slots, Machine(LEVELS), 20.0, Standing(on=True)))
    minute, cost, energy = timedelta(minutes=1), 0.0, 0.0
    for number in range(192 * 15):
        part = plan.part_at(start + minute * number)
        if part is not None and part.level is not None:
            share = min(minute, part.end - (start + minute * number)) / timedelta(hours=1)
            energy += part.level.wall_watts / 1000 * share
            cost += part.level.wall_watts / 1000 * share * part.price
    assert energy == pytest.approx(plan.kilowatt_hours, abs=1e-6)
    assert cost == pytest.approx(plan.cost, abs=1e-6)
