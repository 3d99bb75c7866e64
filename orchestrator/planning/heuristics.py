"""Simple rules to measure the planner against; ``daily_cap`` is also its fallback.

Each uses only what is known on the day itself: the prices of that day, and how much work and
time are left. They count restart losses and catch up on the next day, so that they are as strong
as such rules can be.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, tzinfo
from itertools import groupby

from orchestrator.planning.multiplier import off
from orchestrator.planning.plan import Plan, Walk, flat_out, tally
from orchestrator.planning.problem import Machine, Problem, Slot

#: work hours that do not count as missing
_NOTHING = 1e-9


def always_on(problem: Problem) -> Plan:
    """Flat out from now to the finish."""
    return tally(problem, flat_out(problem))


def constant_cap(problem: Problem) -> Plan | None:
    """The one level, kept all the time, that is cheapest in hindsight; None when all are late."""
    plans = [
        tally(problem, [_at_most(problem.machine, slot, index) for slot in problem.slots])
        for index in range(len(problem.machine.levels))
    ]
    in_time = [plan for plan in plans if plan.finish is not None]
    return min(in_time, key=lambda plan: plan.cost) if in_time else None


def cheapest_hours(problem: Problem, zone: tzinfo = UTC) -> Plan:
    """The cheapest slots of each local day at full speed, as many as even progress needs."""
    fastest = max(range(len(problem.machine.levels)), key=lambda i: problem.machine.levels[i].rate)
    return _day_by_day(problem, zone, lambda needed: fastest)


def daily_cap(problem: Problem, zone: tzinfo = UTC) -> Plan:
    """The most efficient level that is fast enough, in the cheapest slots of each local day."""
    machine = problem.machine
    idle = machine.pauses[-1].idle_watts

    def choose(needed: float) -> int:
        fast = [i for i, level in enumerate(machine.levels) if level.rate >= needed - _NOTHING]
        if not fast:
            return max(range(len(machine.levels)), key=lambda i: machine.levels[i].rate)
        return min(
            fast, key=lambda i: (machine.levels[i].wall_watts - idle) / machine.levels[i].rate
        )

    return _day_by_day(problem, zone, choose)


def _day_by_day(problem: Problem, zone: tzinfo, choose: Callable[[float], int]) -> Plan:
    walk = Walk(problem)
    hours_left = sum(slot.hours for slot in problem.slots if not slot.blocked)
    for _, group in groupby(problem.slots, key=lambda slot: _day(slot.start, zone)):
        day = list(group)
        hours = sum(slot.hours for slot in day if not slot.blocked)
        work_left = problem.work_hours - walk.done
        if work_left <= _NOTHING or walk.finish is not None:
            break
        needed = work_left / hours_left if hours_left > 0.0 else float("inf")
        level = choose(needed)
        for slot, choice in zip(
            day, _one_day(problem, walk, day, needed * hours, level), strict=True
        ):
            if walk.finish is None:
                walk.take(slot, choice)
        hours_left -= hours
    return walk.plan()


def _one_day(
    problem: Problem, walk: Walk, day: Sequence[Slot], quota: float, level: int
) -> list[int]:
    """As few of the day's cheapest slots as reach the quota; faster levels when all are too few."""
    machine = problem.machine
    order = sorted(range(len(day)), key=lambda i: (day[i].price, i))
    usable = [i for i in order if _at_most(machine, day[i], level) >= 0]
    low, high = 0, len(usable)
    while low < high:
        middle = (low + high) // 2
        enough = _work(walk, day, _chosen(machine, day, usable[:middle], level)) >= quota - _NOTHING
        low, high = (low, middle) if enough else (middle + 1, high)
    chosen = _chosen(machine, day, usable[:low], level)
    if _work(walk, day, chosen) >= quota - _NOTHING:
        return chosen
    faster = [i for i, item in enumerate(machine.levels) if item.rate > machine.levels[level].rate]
    if not faster:
        return chosen
    return _one_day(problem, walk, day, quota, min(faster, key=lambda i: machine.levels[i].rate))


def _chosen(machine: Machine, day: Sequence[Slot], used: Sequence[int], level: int) -> list[int]:
    picked = set(used)
    deepest = off(len(machine.pauses) - 1)
    return [
        _at_most(machine, slot, level) if number in picked else deepest
        for number, slot in enumerate(day)
    ]


def _work(walk: Walk, day: Sequence[Slot], choices: Sequence[int]) -> float:
    trial = copy.copy(walk)
    trial.parts, trial.choices = [], []
    before = trial.done
    for slot, choice in zip(day, choices, strict=True):
        if trial.finish is not None:
            return float("inf")
        trial.take(slot, choice)
    return float("inf") if trial.finish is not None else trial.done - before


def _at_most(machine: Machine, slot: Slot, level: int) -> int:
    """The level, or the fastest slower one that the slot allows; the deepest pause when none is."""
    allowed = () if slot.blocked else machine.within(slot.cap_watts)
    slow = [i for i in allowed if machine.levels[i].rate <= machine.levels[level].rate]
    if not slow:
        return off(len(machine.pauses) - 1)
    return max(slow, key=lambda i: machine.levels[i].rate)


def _day(moment: datetime, zone: tzinfo) -> date:
    return moment.astimezone(zone).date()
