"""An exact solver as a second opinion: HiGHS by scipy on the same question, as a MILP."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from orchestrator.planning import schedule
from orchestrator.planning.problem import Machine, Pause, Problem
from tests.unit.planning.worlds import LEVELS, problem


def exact_cost(asked: Problem) -> float:
    """The least cost of whole slots; levels and starts are binary. For prices above zero."""
    machine, slots = asked.machine, asked.slots
    count, levels = len(slots), len(machine.levels)
    pause = machine.pauses[0]
    size = count * levels

    def on(slot: int, level: int) -> int:
        return slot * levels + level

    cost = np.zeros(2 * size)
    work = np.zeros(2 * size)
    for t, slot in enumerate(slots):
        for k, level in enumerate(machine.levels):
            cost[on(t, k)] = slot.price * slot.hours * (level.wall_watts - pause.idle_watts) / 1000
            work[on(t, k)] = level.rate * slot.hours
            work[size + on(t, k)] = -level.rate * pause.restart_seconds / 3600
    rows, lows, highs = [work], [asked.work_hours], [math.inf]
    for t in range(count):
        one = np.zeros(2 * size)
        one[t * levels : (t + 1) * levels] = 1
        rows.append(one)
        lows.append(0)
        highs.append(1)
        start = np.zeros(2 * size)
        start[size + t * levels : size + (t + 1) * levels] = 1
        start[t * levels : (t + 1) * levels] = -1
        if t:
            start[(t - 1) * levels : t * levels] += 1
        rows.append(start)
        lows.append(-1.0 if t == 0 and asked.standing.on else 0.0)
        highs.append(math.inf)
        for k in range(levels):
            same = np.zeros(2 * size)
            same[on(t, k)], same[size + on(t, k)] = 1, -1
            rows.append(same)
            lows.append(0)
            highs.append(math.inf)
    answer = milp(
        cost,
        constraints=LinearConstraint(np.array(rows), lows, highs),
        integrality=np.ones(2 * size),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-6, "time_limit": 60},
    )
    assert answer.success, answer.message
    base = sum(slot.price * slot.hours for slot in slots) * pause.idle_watts / 1000
    return float(answer.fun) + base


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_exact_optimum_lies_between_the_bound_and_our_plan(seed: int) -> None:
    dice = random.Random(seed)
    prices = [
        0.25 + 0.12 * math.sin(t / 12 * math.pi) + dice.uniform(-0.05, 0.05) for t in range(48)
    ]
    machine = Machine(LEVELS[1::2], (Pause("release", 0.0, 240.0),))
    asked = problem(prices, 16.0, minutes=30, machine=machine)
    plan = schedule.by_deadline(asked)
    exact = exact_cost(asked)
    assert plan.bound is not None
    assert plan.bound <= exact + 1e-6
    # The last slot of ours may end early, so it may even beat whole slots.
    assert plan.cost <= exact * 1.005
