"""The planner: least cost by a deadline, earliest finish within a budget, most work for money.

All three are one family of policies, indexed by the multiplier (money per hour of work). For a
deadline the multiplier is the maximum of the dual function, found exactly by cutting planes;
the two policies that meet there are spliced and trimmed into a plan, and the dual value is a
lower bound on every plan (weak duality), so each plan carries its own certificate.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.planning.grid import Grid
from orchestrator.planning.multiplier import Policy, Solver
from orchestrator.planning.plan import Plan, flat_out, tally
from orchestrator.planning.polish import Polish
from orchestrator.planning.problem import Problem
from orchestrator.planning.splice import splice, trim

#: spans of finish dates that are searched apart when pausing draws power
_WINDOWS = 12
_ROUNDS = 60
_EPSILON = 1e-12
#: a gap that is not worth polishing; polishing takes about as long as planning
_GOOD_ENOUGH = 2e-4


def by_deadline(problem: Problem, guess: float | None = None) -> Plan:
    """The cheapest plan that does the work by the end of the slots.

    When a pause draws power, the finish date is part of the choice: a run that is over draws
    nothing. Work that does not fit is planned flat out, with ``finish`` None and no bound.

    Args:
        guess: the multiplier of an earlier plan; only saves time.
    """
    if problem.work_hours <= 0.0:
        start = problem.slots[0].start
        return Plan(problem, (), (), 0.0, 0.0, 0.0, 0, finish=start, bound=0.0)
    search = _Search(problem, guess)
    fastest = search.fastest()
    if fastest.work < problem.work_hours - 1e-9:
        return tally(problem, fastest.choices)
    return search.cheapest()


def capacity_hours(problem: Problem) -> float:
    """The most work that the slots can hold, minimum times heeded."""
    return _Search(problem, None).fastest().work


def by_budget(problem: Problem, budget: float) -> Plan:
    """The plan that is done earliest among those that cost at most ``budget``.

    The cheapest plan of all when even that costs more: compare its ``cost``.
    """
    best = by_deadline(problem)
    if best.cost > budget or best.finish is None:
        return best
    low, high = 0, len(problem.slots)
    while high - low > 1:
        middle = (low + high) // 2
        plan = by_deadline(replace(problem, slots=problem.slots[:middle]), best.value)
        if plan.finish is not None and plan.cost <= budget:
            best, high = plan, middle
        else:
            low = middle
    return best


def by_value(problem: Problem, value: float) -> Plan:
    """What to do when an hour of full-speed work is worth ``value``; it may never be done.

    Work that fits more cheaply is planned by the end of the slots instead.
    """
    grid = Grid(problem)
    policy = Solver(grid).best(value, grid.size)
    if policy.work >= problem.work_hours:
        return by_deadline(problem, value)
    return tally(problem, policy.choices, value=value)


def at_value(problem: Problem, value: float) -> Plan:
    """Run whenever an hour of full-speed work costs no more than ``value``, until it is done.

    ``finish`` is None where it is not done within the slots; there is no bound, since nothing
    has to be done at all.
    """
    grid = Grid(problem)
    return tally(problem, Solver(grid).best(value, grid.size).choices, value=value)


@dataclass(frozen=True)
class CurvePoint:
    """One date and the least that a finish by then costs."""

    by: datetime
    plan: Plan


def curve(problem: Problem, points: int = 12) -> list[CurvePoint]:
    """The cost against the finish date, from the earliest possible finish to the last slot."""
    earliest = tally(problem, flat_out(problem))
    if earliest.finish is None:
        return []
    first, last = len(earliest.parts), len(problem.slots)
    found: list[CurvePoint] = []
    guess: float | None = None
    for number in range(points):
        size = first + round((last - first) * number / max(1, points - 1))
        if found and found[-1].by == problem.slots[size - 1].end:
            continue
        plan = by_deadline(replace(problem, slots=problem.slots[:size]), guess)
        guess = plan.value or None
        found.append(CurvePoint(problem.slots[size - 1].end, plan))
    return found


@dataclass
class _Optimum:
    """Where the dual is highest: its value there, and policies that do more and less."""

    bound: float
    value: float
    much: Policy
    little: Policy | None


class _Search:
    def __init__(self, problem: Problem, guess: float | None) -> None:
        self._problem = problem
        self._grid = Grid(problem)
        self._solver = Solver(self._grid)
        machine = problem.machine
        price = max(abs(slot.price) for slot in problem.slots) or 1.0
        watts = max(level.wall_watts for level in machine.levels) or 1.0
        #: no slot asks for more money per hour of work
        self._scale = price * watts / 1000.0 / min(level.rate for level in machine.levels)
        self._guess = guess if guess else self._scale / 4.0

    def fastest(self) -> Policy:
        """Work is worth so much that money does not matter."""
        return self._solver.best(self._scale * 1e6, self._grid.size)

    def cheapest(self) -> Plan:
        """Over all spans of finish dates."""
        best: Plan | None = None
        bound = float("inf")
        for done_from, end in self._windows():
            optimum = self._optimum(end, done_from, best.cost if best else float("inf"))
            if optimum is None:
                continue
            bound = min(bound, optimum.bound)
            if best is not None and optimum.bound >= best.cost:
                continue
            self._guess = optimum.value
            plan = self._plan(optimum)
            if best is None or plan.cost < best.cost:
                best = plan
        assert best is not None, "the work fits, so the last span has a plan"
        return replace(best, bound=min(bound - self._last_start(), best.cost))

    def _last_start(self) -> float:
        """What the dual does not see: the most that a restart can earn when it is the last slot.

        A slot that is cut by the end of the work is a mixture of running and pausing, which the
        dual covers, but for its restart time: that is paid in full. It only matters where power
        is paid for, and there it is taken off the bound.
        """
        machine = self._problem.machine
        lowest = min(0.0, *(slot.price for slot in self._problem.slots), 0.0)
        watts = max(level.wall_watts for level in machine.levels)
        hours = max(pause.restart_seconds for pause in machine.pauses) / 3600.0
        return -lowest * watts / 1000.0 * hours

    def _windows(self) -> Iterator[tuple[int, int]]:
        earliest = len(tally(self._problem, flat_out(self._problem)).parts)
        size = self._grid.size
        # A pause that draws nothing is as good as being over: the finish date is free then.
        if any(pause.idle_watts == 0.0 for pause in self._problem.machine.pauses):
            yield earliest - 1, size
            return
        borders = {earliest - 1, size}
        for number in range(1, _WINDOWS):
            borders.add(earliest + (size - earliest) * number // _WINDOWS)
        ordered = sorted(borders)
        spans = list(itertools.pairwise(ordered))
        # A good plan early makes most of the other spans quick.
        middle = len(spans) // 2
        yield from sorted(spans, key=lambda span: abs(spans.index(span) - middle))

    # --- the multiplier ---------------------------------------------------------------------

    def _optimum(self, end: int, done_from: int, enough: float) -> _Optimum | None:
        """The maximum of the concave, piecewise linear dual; None when the work does not fit.

        Stops early above ``enough``: then nothing in this span can beat what is known.
        """
        work = self._problem.work_hours
        bracket = self._bracket(end, done_from, enough)
        if bracket is None:
            return None
        much, little, bound, value = bracket
        if little is None:
            return _Optimum(bound, value, much, None)
        for _ in range(_ROUNDS):
            if much.work - work <= _EPSILON or bound >= enough:
                break
            value = (much.cost - little.cost) / (much.work - little.work)
            policy = self._solver.best(value, end, done_from)
            height = policy.cost + value * (work - policy.work)
            bound = max(bound, height)
            tangent = much.cost + value * (work - much.work)
            if height >= tangent - _EPSILON * max(1.0, abs(tangent)):
                break
            if policy.work >= work:
                much = policy
            else:
                little = policy
        return _Optimum(bound, value, much, little)

    def _bracket(
        self, end: int, done_from: int, enough: float
    ) -> tuple[Policy, Policy | None, float, float] | None:
        work = self._problem.work_hours
        much = little = None
        bound, value = float("-inf"), self._guess
        for trial in self._trials():
            if (much is not None and trial > value) or (little is not None and trial < value):
                continue
            value = trial
            policy = self._solver.best(value, end, done_from)
            bound = max(bound, policy.cost + value * (work - policy.work))
            if policy.work >= work - _EPSILON:
                much = policy
            else:
                little = policy
            if much is not None and (little is not None or bound >= enough):
                return much, little, bound, value
        return None if much is None else (much, little, bound, value)

    def _trials(self) -> Iterator[float]:
        """Multipliers ever further from the guess, to both sides; the caller skips one side.

        Negative ones are needed when prices are: then the work must not be done too cheaply,
        because a finished run can use no more power.
        """
        guess, scale = self._guess, self._scale
        yield guess
        for factor in (0.02, 0.1, 0.4):
            yield guess - abs(guess) * factor
            yield guess + abs(guess) * factor
        for factor in (0.0, 1.0, 4.0, 64.0, 4096.0):
            yield -scale * factor
            yield scale * max(factor, 0.5) + abs(guess)

    # --- the plan ---------------------------------------------------------------------------

    def _plan(self, optimum: _Optimum) -> Plan:
        """The cheapest of what splicing, trimming and single moves make of the two policies."""
        work = self._problem.work_hours
        candidates = [optimum.much.choices]
        if optimum.little is not None:
            spliced = splice(optimum.much, optimum.little, work)
            if spliced is not None:
                candidates.insert(0, spliced)
        versions = [trim(self._grid, item, self._excess(item)) for item in candidates]
        best = self._cheapest_of([*versions, *candidates], optimum)
        if best.cost - optimum.bound > _GOOD_ENOUGH * max(abs(optimum.bound), _EPSILON):
            best = min(best, self._polished(candidates, optimum), key=lambda plan: plan.cost)
        return best

    def _polished(self, candidates: list[list[int]], optimum: _Optimum) -> Plan:
        work = self._problem.work_hours
        if optimum.little is not None:
            candidates = [*candidates, optimum.little.choices]
        versions = []
        for choices in candidates:
            polish = Polish(self._grid, choices)
            done = self._whole(polish.choices)
            if polish.reach(work, done):
                polish.save(work, self._whole(polish.choices))
                versions.append(polish.choices)
        return self._cheapest_of([*versions, optimum.much.choices], optimum)

    def _cheapest_of(self, versions: list[list[int]], optimum: _Optimum) -> Plan:
        plans = [
            tally(self._problem, choices, bound=optimum.bound, value=optimum.value)
            for choices in versions
        ]
        return min((plan for plan in plans if plan.finish), key=lambda plan: plan.cost)

    def _whole(self, choices: list[int]) -> float:
        """The work of the choices when no end cuts them short."""
        return tally(replace(self._problem, work_hours=float("inf")), choices).work_hours

    def _excess(self, choices: list[int]) -> float:
        return max(0.0, self._whole(choices) - self._problem.work_hours)
