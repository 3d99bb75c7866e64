"""The certificate: no plan beats the bound, and ours comes close to it."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from orchestrator.planning import schedule
from orchestrator.planning.multiplier import off
from orchestrator.planning.plan import Plan, tally
from orchestrator.planning.problem import Problem
from tests.unit.planning.worlds import small_problems

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def every_plan(problem: Problem) -> list[Plan]:
    """All plans that do the work and keep the minimum times, by trying everything."""
    found = []
    options = []
    for slot in problem.slots:
        allowed = () if slot.blocked else problem.machine.within(slot.cap_watts)
        options.append((off(0), *allowed))
    for choices in itertools.product(*options):
        if keeps_minimum_times(problem, choices):
            plan = tally(problem, choices)
            if plan.finish is not None:
                found.append(plan)
    return found


def keeps_minimum_times(problem: Problem, choices: tuple[int, ...]) -> bool:
    """A run may be cut short by a block or by its own end, a pause by the end of the slots."""
    machine, on, age = problem.machine, problem.standing.on, problem.standing.age_seconds
    # nobody starts without wanting to get through the start
    least_up = machine.min_up_seconds if on else 0.0
    done = tally(problem, choices)
    for number, (slot, choice) in enumerate(zip(problem.slots, choices, strict=True)):
        if number >= len(done.parts):
            break
        stuck = not problem.machine.within(slot.cap_watts) or slot.blocked
        if (choice >= 0) != on:
            least = least_up if on else machine.min_down_seconds
            if age < least and not (on and stuck):
                return False
            on, age = choice >= 0, 0.0
            least_up = max(machine.min_up_seconds, machine.pauses[0].restart_seconds)
        age += slot.hours * 3600.0
    return True


@quick
@given(small_problems())
def test_no_plan_of_all_beats_the_bound_and_ours_is_one_of_them(problem: Problem) -> None:
    if schedule.capacity_hours(problem) < problem.work_hours:
        return
    plan = schedule.by_deadline(problem)
    everything = every_plan(problem)
    if not everything:
        return
    best = min(other.cost for other in everything)
    assert plan.bound is not None
    assert plan.bound <= best + 1e-9
    assert plan.finish is not None
    assert plan.work_hours >= problem.work_hours - 1e-6
    assert plan.cost >= best - 1e-9
    padding = (off(0),) * (len(problem.slots) - len(plan.choices))
    assert keeps_minimum_times(problem, plan.choices + padding)


@quick
@given(small_problems(slots=8))
def test_the_plan_misses_the_bound_by_one_move_at_most(problem: Problem) -> None:
    plan = schedule.by_deadline(problem)
    if plan.bound is None:
        return
    most = max(abs(slot.price) * slot.hours for slot in problem.slots)
    watts = max(level.wall_watts for level in problem.machine.levels)
    blocks = 1 + (problem.machine.min_up_seconds + problem.machine.pauses[0].restart_seconds) / 900
    assert plan.cost - plan.bound <= 3 * blocks * most * watts / 1000 + 1e-9


@quick
@given(small_problems(slots=8))
def test_the_walk_counts_what_the_policy_counted(problem: Problem) -> None:
    from orchestrator.planning.grid import Grid
    from orchestrator.planning.multiplier import Solver

    grid = Grid(problem)
    for value in (0.0, 0.02, 0.05, 0.2):
        policy = Solver(grid).best(value, grid.size)
        plan = tally(replace(problem, work_hours=float("inf")), policy.choices)
        assert abs(plan.cost - policy.cost) < 1e-9
        assert abs(plan.work_hours - policy.work) < 1e-9
