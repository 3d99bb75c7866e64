"""The pilot: the plan in force as a hold of the tariff."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.holds.senses import Moment
from orchestrator.piloting.pilot import Pilot, Running
from orchestrator.planning import online
from orchestrator.planning.levels import assumed_levels, assumed_speed, full_power_only
from orchestrator.planning.measured import Reading
from orchestrator.planning.online import Goal, Mode
from orchestrator.planning.problem import Machine, Pause, Slot, since
from tests.unit.planning.worlds import LEVELS, START, row

DAY = [0.3 + 0.15 * math.sin((hour - 13) / 12 * math.pi) for hour in range(24)]
MACHINE = Machine(LEVELS, (Pause("pause", 15.0, 0.0), Pause("release", 0.0, 180.0)))
GOAL = Goal(48.0, START, START + timedelta(days=4))


class Known:
    """All prices are known for ever."""

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self.all = slots

    def known_until(self, now: datetime) -> datetime:
        return GOAL.deadline

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        return since(self.all, now)


def pilot(machine: Machine = MACHINE, prices: list[float] | None = None) -> Pilot:
    slots = row(DAY * 4 if prices is None else prices)
    return Pilot(GOAL, machine, Known(slots), currency="EUR", default_watts=200.0)


def at(hours: float, run: str | None = "month") -> Moment:
    return Moment(START + timedelta(hours=hours), hours * 3600.0, run)


def test_before_any_plan_and_without_a_run_nothing_is_held() -> None:
    fresh = pilot()
    assert fresh.look(at(0)) == ()
    assert fresh.next_change(START) is None
    fresh.consider(START, Running(48.0, on=True))
    assert fresh.look(at(12, run=None)) == ()


def test_a_dear_hour_is_waited_out_until_a_named_one_and_says_both_prices() -> None:
    plans = pilot()
    news = plans.consider(START, Running(48.0, on=True))
    assert news.startswith("Planned (first): done 2026-12-0")
    (hold,) = plans.look(at(18.5))
    assert (hold.reason, hold.effect) == (Reason.TARIFF, Effect.RELEASE)
    assert hold.until is not None
    assert hold.until > START + timedelta(hours=19)
    assert "EUR/kWh now; goes on at" in hold.detail


def test_a_cheap_hour_runs_under_the_level_of_the_plan() -> None:
    plans = pilot()
    plans.consider(START, Running(48.0, on=True))
    (hold,) = plans.look(at(7))
    assert hold.effect is Effect.CAP
    assert hold.cap_watts in {level.limit_watts for level in LEVELS[:-1]}


def test_a_short_peak_is_a_pause_and_not_a_release() -> None:
    prices = [0.2] * 10 + [0.9] + [0.2] * 85
    frugal = Machine(LEVELS, (Pause("pause", 1.0, 0.0), MACHINE.pauses[1]))
    plans = pilot(frugal, prices)
    plans.consider(START, Running(48.0, on=True))
    holds = [hold for hold in plans.look(at(10.5)) if hold.effect is not Effect.CAP]
    assert [hold.effect for hold in holds] == [Effect.PAUSE]


def test_without_the_right_to_limit_there_is_no_cap() -> None:
    plans = pilot(Machine(full_power_only(250.0), MACHINE.pauses))
    plans.consider(START, Running(48.0, on=True))
    effects = {hold.effect for hour in range(96) for hold in plans.look(at(hour))}
    assert effects == {Effect.RELEASE}


def test_it_plans_once_and_again_when_something_had_kept_it_from_its_plan() -> None:
    plans = pilot()
    plans.consider(START, Running(48.0, on=True))
    moment = START + timedelta(hours=4)
    assert plans.consider(moment, Running(45.0, on=True)) == ""
    assert plans.consider(moment, Running(45.0, on=False)) == ""
    later = moment + timedelta(hours=2)
    assert plans.consider(later, Running(45.0, on=True)).startswith("Planned (event)")


def test_no_prices_at_all_is_full_power_and_after_the_deadline_nobody_waits() -> None:
    plans = pilot(prices=[])
    plans._prices.all = ()  # type: ignore[attr-defined] # the double's own field
    assert "full power" in plans.consider(START, Running(48.0, on=True))
    assert plans.look(at(18)) == ()
    plans = pilot()
    plans.consider(START, Running(48.0, on=True))
    assert plans.consider(GOAL.deadline, Running(9.0, on=True)) == ""
    assert plans.incumbent is None


def test_work_that_does_not_fit_is_told() -> None:
    assert "flat out" in pilot().consider(START, Running(200.0, on=True))


def test_a_planner_that_fails_is_replaced_by_a_simple_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(online, "plan_again", fails)
    plans = pilot()
    plans.consider(START, Running(48.0, on=True))
    assert plans.incumbent is not None
    assert plans.incumbent.mode is Mode.FALLBACK
    assert plans.incumbent.plan.finish is not None


def test_measured_levels_enter_the_next_plan() -> None:
    plans = pilot()
    for _ in range(50):
        plans.observe(Reading(200, 1000.0, 250.0, 3600.0))
        plans.observe(Reading(140, 500.0, 240.0, 3600.0))
    plans.consider(START, Running(48.0, on=True))
    assert plans.incumbent is not None
    used = {part.level.limit_watts for part in plans.incumbent.plan.parts if part.level}
    assert 140 not in used


def test_assumed_levels_follow_the_card_and_never_leave_its_range() -> None:
    levels = assumed_levels(100.0, 200.0)
    assert [level.limit_watts for level in levels] == [100, 120, 140, 160, 180, 200]
    assert levels == tuple(sorted(levels, key=lambda level: level.rate))
    assert levels[-1].rate == 1.0
    assert len(assumed_levels(200.0, 200.0)) == 1
    assert assumed_speed(0.25) < 0.3
    assert assumed_speed(1.2) == 1.0
