"""Planning as the future becomes known: when to plan again, what to keep, when not to wait.

Only the part with published prices is ever carried out. The rest is a forecast, and the plan for
it is there to price the work: how much to do now at these prices, how much to leave for later.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.planning import schedule
from orchestrator.planning.multiplier import DONE, off
from orchestrator.planning.plan import Plan, flat_out, tally
from orchestrator.planning.problem import Machine, Problem, Slot, Standing, coarsened, since, until

#: the least that counts as near
_NEAR = timedelta(hours=1)


class Why(enum.StrEnum):
    """Why there is a new plan, or why it stays."""

    FIRST = "first"
    PUBLISHED = "published"
    DRIFT = "drift"
    EVENT = "event"
    #: the old plan has nothing to say about now
    OVER = "over"


class Mode(enum.StrEnum):
    """How a plan came about."""

    CHEAPEST = "cheapest"
    #: too little time is left to wait for anything
    FLAT_OUT = "flat_out"
    #: it had fallen behind even progress as far as it may
    CATCHING_UP = "catching_up"
    #: the planner failed; a simple rule goes on
    FALLBACK = "fallback"
    #: as early as the money allows
    BUDGET = "budget"
    #: whenever the work costs no more than it is worth
    VALUE = "value"


@dataclass(frozen=True)
class Rules:
    """The numbers that the policy hangs on."""

    #: a new plan must be better by this fraction of what the published part costs
    keep_within: float = 0.005
    #: plan again when this fraction of all work is missing or too much
    drift: float = 0.02
    #: time kept for what will go wrong: a fraction of the remaining work, and hours
    reserve_fraction: float = 0.03
    reserve_hours: float = 2.0
    #: how far the work may lag behind even progress, as a fraction of the slack
    most_lag: float = 0.25


@dataclass(frozen=True)
class Goal:
    """All of the work, from when until when."""

    work_hours: float
    start: datetime
    deadline: datetime

    def due(self, moment: datetime, rules: Rules, full_rate: float) -> float:
        """The least work that must be done by ``moment``."""
        whole = self.deadline - self.start
        share = min(1.0, max(0.0, (moment - self.start) / whole))
        slack_hours = whole / timedelta(hours=1) * full_rate - self.work_hours
        return self.work_hours * share - rules.most_lag * max(0.0, slack_hours)


@dataclass(frozen=True)
class Purse:
    """A wish without a date: exactly one of the two is given."""

    #: money that is left for the rest of the work
    budget: float | None = None
    #: what an hour of full-speed work may cost
    value: float | None = None


@dataclass(frozen=True)
class Outlook:
    """What is known now, and what is guessed, up to the deadline without gaps."""

    now: datetime
    #: published first, forecast after that; with the house's caps and blocks
    slots: tuple[Slot, ...]
    #: prices are published up to here
    known_until: datetime
    machine: Machine
    standing: Standing
    work_left_hours: float


@dataclass(frozen=True)
class Incumbent:
    """The plan in force."""

    plan: Plan
    mode: Mode
    made: datetime
    known_until: datetime
    work_left_hours: float
    why: Why

    def drifted(self, outlook: Outlook, goal: Goal, rules: Rules) -> bool:
        """Whether the work is further from the plan than it may be."""
        expected = self.work_left_hours - self.plan.work_by(outlook.now)
        return abs(expected - outlook.work_left_hours) > rules.drift * goal.work_hours


def reason_to_plan(
    incumbent: Incumbent | None, outlook: Outlook, goal: Goal, rules: Rules, *, event: bool = False
) -> Why | None:
    """Why a new plan is due; None: carry on."""
    if incumbent is None:
        return Why.FIRST
    if event:
        return Why.EVENT
    if outlook.known_until > incumbent.known_until:
        return Why.PUBLISHED
    if incumbent.plan.part_at(outlook.now) is None:
        return Why.OVER
    return Why.DRIFT if incumbent.drifted(outlook, goal, rules) else None


def plan_again(
    incumbent: Incumbent | None, outlook: Outlook, goal: Goal, rules: Rules, why: Why
) -> Incumbent:
    """The plan from now on: a new one, or the old one when the new one is not worth the change."""
    problem = problem_of(outlook)
    safe = within_reserve(problem, goal, rules)
    if safe is None:
        plan = tally(problem, flat_out(problem))
        return _in_force(plan, Mode.FLAT_OUT, outlook, why)
    problem = safe
    fresh = schedule.by_deadline(problem, incumbent.plan.value if incumbent else None)
    caught_up = _catching_up(problem, fresh, outlook, goal, rules)
    if caught_up is not None:
        return _in_force(caught_up, Mode.CATCHING_UP, outlook, why)
    if incumbent is not None and incumbent.mode is Mode.CHEAPEST:
        kept = continued(incumbent.plan, problem)
        if kept.finish is not None and fresh.finish is not None:
            executed = sum(abs(part.cost) for part in kept.parts if part.known)
            if fresh.cost >= kept.cost - rules.keep_within * executed:
                bound = fresh.bound if fresh.bound is not None else kept.cost
                kept = replace(kept, bound=min(bound, kept.cost), value=fresh.value)
                return _in_force(kept, Mode.CHEAPEST, outlook, why)
    return _in_force(fresh, Mode.CHEAPEST, outlook, why)


def plan_for_money(outlook: Outlook, purse: Purse, why: Why) -> Incumbent:
    """The plan of a wish without a date; the slots reach as far as anybody looks.

    A budget that does not suffice gets the cheapest plan of all: its cost tells.
    """
    problem = problem_of(outlook)
    if purse.budget is not None:
        plan = schedule.by_budget(problem, purse.budget)
        return _in_force(plan, Mode.BUDGET, outlook, why)
    assert purse.value is not None, "a purse has a budget or a value"
    return _in_force(schedule.at_value(problem, purse.value), Mode.VALUE, outlook, why)


def problem_of(outlook: Outlook) -> Problem:
    """The outlook as a question to the planner; the forecast part by the hour."""
    return Problem(
        coarsened(since(outlook.slots, outlook.now)),
        outlook.machine,
        outlook.work_left_hours,
        outlook.standing,
    )


def within_reserve(problem: Problem, goal: Goal, rules: Rules) -> Problem | None:
    """The problem with time kept before the deadline for what will go wrong.

    The reserve shrinks with the work that is left. None is the deadline guard: there is no time
    to keep, so nothing may be waited for.
    """
    full = problem.machine.full_rate
    reserve = rules.reserve_hours + rules.reserve_fraction * problem.work_hours / full
    restart = max(pause.restart_seconds for pause in problem.machine.pauses) / 3600.0
    safe = goal.deadline - timedelta(hours=reserve + restart)
    slots = until(problem.slots, safe)
    if not slots:
        return None
    kept = replace(problem, slots=slots)
    return kept if schedule.capacity_hours(kept) > problem.work_hours else None


def continued(plan: Plan, problem: Problem) -> Plan:
    """What is left of an older plan, under today's prices and rules.

    A level that a slot no longer allows becomes the fastest that it does.
    """
    choices: list[int] = []
    parts = iter(zip(plan.parts, plan.choices, strict=False))
    part, choice = next(parts, (None, 0))
    fastest = flat_out(problem)
    deepest = off(len(problem.machine.pauses) - 1)
    for slot, quick in zip(problem.slots, fastest, strict=True):
        while part is not None and part.end <= slot.start:
            part, choice = next(parts, (None, 0))
        if part is None or quick < 0:
            # After its old finish it catches up, and a new block is a block.
            choices.append(quick if part is None else deepest)
        elif choice >= 0 and choice not in problem.machine.within(slot.cap_watts):
            choices.append(quick)
        else:
            choices.append(choice)
    return tally(problem, choices)


def _catching_up(
    problem: Problem, fresh: Plan, outlook: Outlook, goal: Goal, rules: Rules
) -> Plan | None:
    """A plan that does more in the published part, when the cheapest would lag too far behind."""
    # A market that publishes nothing ahead must not let the work lag without an end.
    horizon = max(outlook.known_until, outlook.now + _NEAR)
    done = goal.work_hours - outlook.work_left_hours
    missing = goal.due(horizon, rules, outlook.machine.full_rate) - done
    if missing <= fresh.work_by(horizon) + 1e-9:
        return None
    known = until(problem.slots, horizon)
    if not known:
        return None
    near = schedule.by_deadline(replace(problem, slots=known, work_hours=missing))
    choices = [*_padded(near.choices, len(known)), *fresh.choices[len(known) :]]
    return tally(problem, choices, bound=fresh.bound, value=fresh.value)


def _padded(choices: Sequence[int], size: int) -> list[int]:
    kept = [off(0) if item == DONE else item for item in choices[:size]]
    return kept + [off(0)] * (size - len(kept))


def _in_force(plan: Plan, mode: Mode, outlook: Outlook, why: Why) -> Incumbent:
    return Incumbent(plan, mode, outlook.now, outlook.known_until, outlook.work_left_hours, why)
