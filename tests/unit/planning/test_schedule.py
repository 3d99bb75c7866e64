"""What a plan does in the situations that a home brings."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from orchestrator.planning import heuristics, schedule
from orchestrator.planning.plan import Plan
from orchestrator.planning.problem import (
    Level,
    Machine,
    Pause,
    Problem,
    Slot,
    Standing,
    coarsened,
    efficient_levels,
    since,
    until,
)
from tests.unit.planning.worlds import FULL, LEVELS, START, problem, row, small_problems

DAY = [0.3 + 0.15 * math.sin((hour - 13) / 12 * math.pi) for hour in range(24)]


def hours_on(plan: Plan) -> list[int]:
    """The hours of the first day in which it runs."""
    return [round((p.start - START).total_seconds() / 3600) for p in plan.parts if p.level]


def test_it_runs_in_the_cheap_hours_and_is_done_by_the_deadline() -> None:
    plan = schedule.by_deadline(problem(DAY, 6.0, machine=Machine((FULL,))))
    assert plan.finish is not None
    assert plan.work_hours == pytest.approx(6.0)
    assert max(DAY[hour] for hour in hours_on(plan)) < sorted(DAY)[8]


def test_without_slack_there_is_nothing_to_gain() -> None:
    asked = problem(DAY, 24.0)
    plan = schedule.by_deadline(asked)
    assert plan.cost == pytest.approx(heuristics.always_on(asked).cost)
    assert plan.finish == asked.slots[-1].end


def test_work_that_does_not_fit_is_planned_flat_out_and_says_that_it_is_late() -> None:
    plan = schedule.by_deadline(problem(DAY, 25.0))
    assert plan.finish is None
    assert plan.bound is None
    assert plan.gap is None
    assert plan.work_hours == pytest.approx(24.0)


def test_no_work_is_a_plan_that_is_already_done() -> None:
    plan = schedule.by_deadline(problem(DAY, 0.0))
    assert (plan.finish, plan.cost, plan.parts) == (START, 0.0, ())


def test_the_restart_loss_is_charged_to_the_level_of_the_start_slot() -> None:
    machine = Machine(LEVELS, (Pause("release", 0.0, 1800.0),))
    asked = problem([0.1, 9.0, 9.0, 0.1], 1.4, machine=machine)
    plan = schedule.by_deadline(asked)
    assert plan.starts == 1
    first, last = plan.parts[0], plan.parts[-1]
    assert last.level is not None
    assert last.work_hours == pytest.approx(
        last.level.rate * (last.end - last.start) / timedelta(hours=1) - 0.5 * last.level.rate
    )
    assert first.work_hours + last.work_hours == pytest.approx(1.4)
    assert plan.bound is not None
    assert plan.bound <= plan.cost


def test_a_short_dip_is_not_worth_a_restart() -> None:
    prices = [0.30] * 8 + [0.28] + [0.30] * 8
    machine = Machine((FULL,), (Pause("release", 0.0, 900.0),))
    plan = schedule.by_deadline(problem(prices, 10.0, machine=machine))
    assert plan.starts <= 1


def test_negative_prices_can_do_all_the_work_and_then_it_wants_full_power() -> None:
    asked = problem([0.3] * 10 + [-0.2] * 6 + [0.3] * 8, 4.0)
    plan = schedule.by_deadline(asked)
    assert plan.cost < 0.0
    assert set(hours_on(plan)) <= set(range(10, 16))
    assert plan.gap is not None
    assert plan.gap < 0.03


def test_a_multiplier_of_zero_runs_only_where_power_is_paid_for() -> None:
    plan = schedule.by_value(problem([0.3, -0.1, 0.3, -0.1], 3.9), 0.0)
    assert hours_on(plan) == [1, 3]
    assert plan.finish is None


def test_money_per_work_given_runs_where_work_is_cheaper_than_that() -> None:
    # 250 W full: an hour of work costs 0.25 kWh
    asked = problem(DAY, 100.0, machine=Machine((FULL,), (Pause("release", 0.0, 0.0),)))
    plan = schedule.by_value(asked, 0.25 * 0.2)
    assert hours_on(plan) == [hour for hour in range(24) if DAY[hour] < 0.2]


def test_money_per_work_that_would_do_more_than_all_plans_the_cheapest_way() -> None:
    asked = problem(DAY, 6.0)
    assert schedule.by_value(asked, 10.0).cost == schedule.by_deadline(asked).cost


def test_quiet_hours_block_or_cap_and_the_rest_makes_up_for_it() -> None:
    asked = problem(
        [0.1] * 8 + [0.5] * 16, 14.0, blocked=(0, 1), caps=dict.fromkeys(range(2, 8), 120.0)
    )
    plan = schedule.by_deadline(asked)
    assert plan.finish is not None
    for part in plan.parts[:2]:
        assert part.level is None
    for part in plan.parts[2:8]:
        assert part.level is not None
        assert part.level.limit_watts is not None
        assert part.level.limit_watts <= 120.0


def test_levels_without_limits_obey_no_cap_so_a_capped_slot_is_blocked() -> None:
    machine = Machine((Level(None, 1.0, 250.0),))
    plan = schedule.by_deadline(problem([0.1, 0.5, 0.5], 1.5, machine=machine, caps={0: 120.0}))
    assert hours_on(plan) == [1, 2]


def test_minimum_times_are_kept() -> None:
    prices = [0.1, 0.5] * 12
    machine = Machine((FULL,), (Pause(restart_seconds=0.0),), 3 * 3600.0, 2 * 3600.0)
    plan = schedule.by_deadline(problem(prices, 12.0, machine=machine, standing=Standing()))
    on = [part.level is not None for part in plan.parts]
    runs = [len(run) for run in "".join("x" if item else " " for item in on).split()]
    pauses = [len(gap) for gap in "".join(" " if item else "x" for item in on).split()]
    assert all(length >= 3 for length in runs[:-1])
    assert all(length >= 2 for length in pauses[1:])


def test_a_plan_knows_that_it_has_just_started_and_does_not_stop_at_once() -> None:
    machine = Machine((FULL,), (Pause(),), min_up_seconds=3 * 3600.0)
    asked = problem(
        [0.9, 0.9, 0.9, 0.1, 0.1], 1.0, machine=machine, standing=Standing(True, 3600.0)
    )
    plan = schedule.by_deadline(asked)
    assert hours_on(plan)[:1] == [0]


def test_idle_power_makes_an_early_finish_cheaper_than_the_deadline() -> None:
    machine = Machine(LEVELS, (Pause("idle", 59.0, 120.0),))
    asked = problem(DAY * 4, 24.0, machine=machine)
    plan = schedule.by_deadline(asked)
    assert plan.finish is not None
    assert plan.finish < asked.slots[-1].end - timedelta(days=1)
    late = schedule.by_deadline(
        replace(asked, machine=Machine(LEVELS, (Pause("off", 0.0, 120.0),)))
    )
    idle_hours = sum(1 for part in late.parts if part.level is None)
    assert plan.cost < late.cost + 0.059 * 0.3 * idle_hours


def test_two_depths_of_pause_hold_for_minutes_and_release_for_hours() -> None:
    pauses = (Pause("pause", 40.0, 0.0), Pause("release", 4.0, 900.0))
    prices = [0.2] * 8 + [0.9] + [0.2] * 7 + [0.9] * 24 + [0.2] * 16
    asked = problem(prices, 7.2, minutes=15, machine=Machine((FULL,), pauses))
    plan = schedule.by_deadline(asked)
    assert [plan.parts[i].pause for i in (8, 20)] == list(pauses)


def test_a_budget_buys_the_earliest_finish() -> None:
    asked = problem(DAY * 3, 12.0)
    cheap, dear = schedule.by_deadline(asked), heuristics.always_on(asked)
    middle = schedule.by_budget(asked, (cheap.cost + dear.cost) / 2)
    assert middle.cost <= (cheap.cost + dear.cost) / 2
    assert cheap.finish is not None
    assert middle.finish is not None
    assert middle.finish < cheap.finish
    sooner = replace(asked, slots=until(asked.slots, middle.finish - timedelta(hours=1)))
    assert schedule.by_deadline(sooner).cost > (cheap.cost + dear.cost) / 2


def test_a_budget_that_is_too_small_gets_the_cheapest_plan() -> None:
    asked = problem(DAY, 12.0)
    assert schedule.by_budget(asked, 0.01).cost == schedule.by_deadline(asked).cost


def test_the_curve_falls_with_the_finish_date() -> None:
    points = schedule.curve(problem(DAY * 4, 20.0), points=6)
    costs = [point.plan.cost for point in points]
    assert len(points) == 6
    assert costs == sorted(costs, reverse=True)
    assert schedule.curve(problem(DAY, 30.0)) == []


def test_replanning_without_news_changes_nothing() -> None:
    asked = problem(DAY * 5, 60.0)
    plan = schedule.by_deadline(asked)
    half = asked.slots[50].start
    done = plan.work_by(half)
    part = plan.part_at(half - timedelta(minutes=1))
    assert part is not None
    standing = Standing(on=part.level is not None)
    again = schedule.by_deadline(
        Problem(since(asked.slots, half), asked.machine, 60.0 - done, standing), plan.value
    )
    spent = sum(part.cost for part in plan.parts if part.end <= half)
    assert again.cost + spent <= plan.cost * (1 + 1e-3)
    assert again.cost + spent >= (plan.bound or 0.0) - 1e-9


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_problems(slots=12, levels=4, lowest_price=0.01))
def test_no_heuristic_is_cheaper_by_more_than_the_gap(asked: Problem) -> None:
    plan = schedule.by_deadline(asked)
    if plan.bound is None or asked.machine.min_up_seconds or asked.machine.min_down_seconds:
        return
    rules = (
        heuristics.always_on(asked),
        heuristics.constant_cap(asked),
        heuristics.cheapest_hours(asked),
        heuristics.daily_cap(asked),
    )
    for other in rules:
        if other is not None and other.finish is not None:
            assert plan.bound <= other.cost + 1e-9


@pytest.mark.parametrize("work", [200.0, 300.0, 400.0])
def test_on_a_month_no_heuristic_is_cheaper_at_all(work: float) -> None:
    prices = [price + 0.03 * math.sin(day) for day in range(25) for price in DAY]
    asked = problem(prices, work)
    plan = schedule.by_deadline(asked)
    assert plan.gap is not None
    assert plan.gap < 5e-4
    for rule in (heuristics.always_on, heuristics.constant_cap, heuristics.cheapest_hours):
        other = rule(asked)
        assert other is not None
        assert other.finish is not None
        assert plan.cost < other.cost
    assert plan.cost < heuristics.daily_cap(asked).cost


def test_the_hull_keeps_the_levels_that_are_worth_it() -> None:
    bad = Level(150, 0.7, 200.0)
    assert efficient_levels((*LEVELS, bad)) == list(LEVELS[1:])
    assert efficient_levels(LEVELS, 60.0) == list(LEVELS)


def test_a_coarse_forecast_keeps_what_is_known() -> None:
    known = row([0.1, 0.2, 0.3, 0.4], 15)
    guessed = tuple(
        replace(slot, known=False)
        for slot in row([0.1, 0.3, 0.1, 0.3, 0.5], 15, start=known[-1].end)
    )
    merged = coarsened((*known, *guessed))
    assert merged[:4] == known
    assert [slot.hours for slot in merged[4:]] == [1.0, 0.25]
    assert merged[4].price == pytest.approx(0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Machine(()),
        lambda: Machine(LEVELS, ()),
        lambda: Machine((Level(100, 0.0, 100.0),)),
        lambda: Machine(LEVELS, (Pause("x", -1.0),)),
        lambda: Problem((), Machine(LEVELS), 1.0),
        lambda: Problem((Slot(START, START, 0.1),), Machine(LEVELS), 1.0),
        lambda: Problem(
            row([0.1]) + row([0.1], start=START + timedelta(hours=2)), Machine(LEVELS), 1.0
        ),
    ],
)
def test_nonsense_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()  # type: ignore[operator] # a list of lambdas
