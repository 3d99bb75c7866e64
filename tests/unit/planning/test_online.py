"""Planning as prices become known: what is carried out, when to plan again, how long to wait."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.planning import schedule
from orchestrator.planning.measured import Measured, Reading
from orchestrator.planning.online import (
    Goal,
    Incumbent,
    Mode,
    Outlook,
    Rules,
    Why,
    continued,
    plan_again,
    problem_of,
    reason_to_plan,
)
from orchestrator.planning.plan import Walk, flat_out
from orchestrator.planning.problem import Machine, Problem, Slot, Standing, since, until
from tests.unit.planning.worlds import FULL, LEVELS, START, row

DAY = [0.3 + 0.15 * math.sin((hour - 13) / 12 * math.pi) for hour in range(24)]
RULES = Rules()
MACHINE = Machine(LEVELS)


def goal(work: float = 60.0, days: int = 5) -> Goal:
    return Goal(work, START, START + timedelta(days=days))


def outlook(
    hours: int = 0, *, left: float = 60.0, days: int = 5, known_hours: int = 36, level: float = 1.0
) -> Outlook:
    """``hours`` after the start; the first ``known_hours`` from then on are published."""
    now = START + timedelta(hours=hours)
    known_until = now + timedelta(hours=known_hours)
    slots = tuple(
        replace(slot, known=slot.end <= known_until)
        for slot in since(row([level * price for _ in range(days) for price in DAY]), now)
    )
    return Outlook(now, slots, known_until, MACHINE, Standing(on=True), left)


def first_plan() -> Incumbent:
    return plan_again(None, outlook(), goal(), RULES, Why.FIRST)


def test_the_first_look_asks_for_a_plan_and_then_it_stands() -> None:
    assert reason_to_plan(None, outlook(), goal(), RULES) is Why.FIRST
    incumbent = first_plan()
    assert incumbent.mode is Mode.CHEAPEST
    later = outlook(
        2, left=60.0 - incumbent.plan.work_by(START + timedelta(hours=2)), known_hours=34
    )
    assert reason_to_plan(incumbent, later, goal(), RULES) is None


def test_a_publication_a_drift_an_event_and_an_end_each_ask_for_a_new_one() -> None:
    incumbent = first_plan()
    done = incumbent.plan.work_by(START + timedelta(hours=12))
    published = outlook(12, left=60.0 - done)
    assert reason_to_plan(incumbent, published, goal(), RULES) is Why.PUBLISHED
    same = outlook(12, left=60.0 - done, known_hours=24)
    assert reason_to_plan(incumbent, same, goal(), RULES) is None
    assert reason_to_plan(incumbent, same, goal(), RULES, event=True) is Why.EVENT
    behind = replace(same, work_left_hours=60.0 - done + 1.3)
    assert reason_to_plan(incumbent, behind, goal(), RULES) is Why.DRIFT
    assert incumbent.plan.finish is not None
    after = replace(same, now=incumbent.plan.finish, known_until=incumbent.known_until)
    assert reason_to_plan(incumbent, after, goal(), RULES) is Why.OVER


def test_replanning_without_news_keeps_every_choice() -> None:
    incumbent = first_plan()
    work = 60.0 - incumbent.plan.work_by(START + timedelta(hours=12))
    part = incumbent.plan.part_at(START + timedelta(hours=11))
    assert part is not None
    look = replace(outlook(12, left=work), standing=Standing(on=part.level is not None))
    again = plan_again(incumbent, look, goal(), RULES, Why.EVENT)
    before = [part.level for part in incumbent.plan.parts if part.start >= look.now]
    assert [part.level for part in again.plan.parts] == before


def test_real_news_changes_the_plan() -> None:
    incumbent = first_plan()
    now = START + timedelta(hours=12)
    left = 60.0 - incumbent.plan.work_by(now)
    dear = outlook(12, left=left)
    shocked = tuple(
        replace(slot, price=slot.price * 4) if slot.known else slot for slot in dear.slots
    )
    again = plan_again(incumbent, replace(dear, slots=shocked), goal(), RULES, Why.PUBLISHED)
    known = [part for part in again.plan.parts if part.known]
    assert sum(part.work_hours for part in known) < 1.0


def test_the_guard_stops_all_waiting_when_time_runs_out() -> None:
    late = outlook(72, left=45.0)
    again = plan_again(None, late, goal(), RULES, Why.FIRST)
    assert again.mode is Mode.FLAT_OUT
    assert {part.level for part in again.plan.parts} == {FULL}


def test_what_cannot_be_done_in_time_is_done_flat_out() -> None:
    again = plan_again(None, outlook(100, left=60.0), goal(), RULES, Why.FIRST)
    assert again.mode is Mode.FLAT_OUT
    assert again.plan.finish is None


def test_it_may_not_lag_further_than_the_rules_allow() -> None:
    # Everything later looks cheaper, day after day: waiting would never end.
    start = outlook()
    dear_now = tuple(replace(s, price=s.price * (3.0 if s.known else 1.0)) for s in start.slots)
    look = replace(start, slots=dear_now)
    waits = plan_again(None, look, goal(), replace(RULES, most_lag=9.0), Why.FIRST)
    works = plan_again(None, look, goal(), replace(RULES, most_lag=0.1), Why.FIRST)
    assert waits.mode is Mode.CHEAPEST
    assert works.mode is Mode.CATCHING_UP
    due = goal().due(look.known_until, replace(RULES, most_lag=0.1), 1.0)
    assert waits.plan.work_by(look.known_until) < due
    assert works.plan.work_by(look.known_until) == pytest.approx(due, abs=0.05)
    assert works.plan.work_hours == pytest.approx(60.0, abs=0.5)


def test_a_kept_plan_obeys_new_blocks_and_caps() -> None:
    incumbent = first_plan()
    look = outlook()
    limited = tuple(
        replace(slot, blocked=number == 4, cap_watts=120.0 if number == 5 else None)
        for number, slot in enumerate(look.slots)
    )
    plan = continued(incumbent.plan, problem_of(replace(look, slots=limited)))
    assert plan.parts[4].level is None
    fifth = plan.parts[5].level
    assert fifth is None or fifth.limit_watts is None or fifth.limit_watts <= 120.0


@pytest.mark.parametrize("drift", [0.7, 1.0, 1.6])
def test_however_prices_move_every_deadline_is_met(drift: float) -> None:
    truth = row([price * drift ** (day - 1) for day in range(5) for price in DAY])
    problem = Problem(truth, MACHINE, 60.0, Standing(on=True))
    walk, incumbent = Walk(problem), None
    for index, slot in enumerate(truth):
        if walk.finish is not None:
            break
        known_until = START + timedelta(days=slot.start.day)
        seen = tuple(
            replace(
                s,
                price=s.price if s.start < known_until else DAY[s.start.hour],
                known=s.start < known_until,
            )
            for s in since(truth, slot.start)
        )
        look = Outlook(slot.start, seen, known_until, MACHINE, walk.standing, 60.0 - walk.done)
        why = reason_to_plan(incumbent, look, goal(), RULES)
        if why is not None:
            incumbent = plan_again(incumbent, look, goal(), RULES, why)
        assert incumbent is not None
        choices = continued(incumbent.plan, problem_of(look)).choices
        walk.take(slot, choices[0] if choices[0] > -100 else flat_out(problem)[index])
    assert walk.finish is not None
    assert walk.finish <= START + timedelta(days=5)


def test_known_prices_planned_once_and_carried_out_cost_what_the_plan_said() -> None:
    look = replace(outlook(), known_until=START + timedelta(days=5))
    plan = plan_again(None, look, goal(), RULES, Why.FIRST).plan
    assert plan.cost == pytest.approx(schedule.by_deadline(problem_of(look)).cost)


# --- measurements ---------------------------------------------------------------------------


def test_a_level_that_is_slower_than_its_profile_is_planned_slower() -> None:
    seen = Measured.of(LEVELS, 1000.0)
    for _ in range(20):
        seen = seen.fold(Reading(140, 800.0, 200.0, 1800.0))
    assert seen.levels[2].rate == pytest.approx(0.8, abs=0.01)
    assert seen.levels[2].wall_watts == pytest.approx(200.0, abs=1.0)
    assert seen.levels[1] == LEVELS[1]


def test_the_first_reading_says_what_full_speed_is() -> None:
    seen = Measured.of(LEVELS).fold(Reading(140, 900.0, None, 600.0))
    assert seen.full_tokens_per_second == pytest.approx(1000.0)
    assert seen.levels == LEVELS


def test_old_readings_fade_and_useless_ones_say_nothing() -> None:
    seen = Measured.of(LEVELS, 1000.0).fold(Reading(200, 1000.0, 250.0, 36_000.0))
    seen = seen.fold(Reading(200, 700.0, 250.0, 6 * 3600.0))
    assert seen.levels[-1].rate == pytest.approx(0.7, abs=0.05)
    assert seen.fold(Reading(999, 1.0, 1.0, 10.0)) is seen
    assert seen.fold(Reading(200, 0.0, 1.0, 10.0)) is seen
    assert seen.fold(Reading(200, 1.0, 1.0, 0.0)) is seen


def test_slots_can_be_cut_at_both_ends() -> None:
    slots = row([0.1, 0.2])
    half = START + timedelta(minutes=30)
    assert since(slots, half)[0] == Slot(half, slots[0].end, 0.1)
    assert until(slots, half) == (Slot(START, half, 0.1),)
    assert until(slots, START) == ()
