"""What the running daemon will do and why, slot by slot; and what another finish would cost. Pure.

Readers (API, page, ``homerun schedule``) get these values; nothing in them can be changed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.planning.online import Incumbent
from orchestrator.planning.plan import Part, Plan
from orchestrator.planning.problem import Slot
from orchestrator.planning.schedule import CurvePoint

#: how far the schedule may be asked for
LEAST_HOURS, MOST_HOURS, USUAL_HOURS = 1, 24 * 60, 48


class Doing(enum.StrEnum):
    """What happens in a slot."""

    #: the plan waits for a cheaper one
    OFF = "off"
    #: it trains, at ``cap_watts`` or at full power
    RUN = "run"
    #: something else than the plan keeps it from training
    HOLD = "hold"


@dataclass(frozen=True)
class ScheduleSlot:
    """One slot, half-open [start, end), in UTC."""

    start: datetime
    end: datetime
    #: money per kWh; None: nobody knows and nobody can guess
    price: float | None
    currency: str
    #: the price is a guess, and so is what will be done
    forecast: bool
    state: Doing
    #: the card's limit; None: full power, or nothing runs
    cap_watts: float | None
    reason: str


@dataclass(frozen=True)
class ScheduleReport:
    """The next hours of the active run. None means unknown, or that there is no such thing."""

    time: datetime
    run: str | None
    #: off, deadline, slack, budget, value
    goal: str
    #: cheapest, flat_out, catching_up, fallback, budget, value; empty without a plan
    mode: str
    made: datetime | None
    #: in words: why this plan, or why there is none
    remark: str
    currency: str
    #: what is behind this moment stands on a forecast; None: everything is published
    known_until: datetime | None
    #: when something else is done than now
    next_change: datetime | None
    deadline: datetime | None
    finish: datetime | None
    #: from now until the finish
    cost: float | None
    energy_kwh: float | None
    #: the plan costs at most so much more than the best one could, as a fraction
    gap_ratio: float | None
    #: the same work at full power from now on without a break
    always_on_cost: float | None
    slots: tuple[ScheduleSlot, ...]


@dataclass(frozen=True)
class CurveDate:
    """One finish date, and the least that it costs."""

    by: datetime
    finish: datetime | None
    cost: float
    energy_kwh: float


@dataclass(frozen=True)
class CurveReport:
    """The cost against the finish date, from the earliest finish on. Empty: see ``remark``."""

    time: datetime
    run: str | None
    currency: str
    deadline: datetime | None
    points: tuple[CurveDate, ...]
    #: what waiting saves in money, also when that is next to nothing
    remark: str


def curve_dates(points: Iterable[CurvePoint]) -> tuple[CurveDate, ...]:
    """The curve as readers get it."""
    return tuple(
        CurveDate(point.by, point.plan.finish, point.plan.cost, point.plan.kilowatt_hours)
        for point in points
    )


def planned_slots(
    incumbent: Incumbent, start: datetime, end: datetime, currency: str, full_watts: float | None
) -> list[ScheduleSlot]:
    """What the plan in force does in [start, end).

    Args:
        full_watts: the card's default limit: a level there is full power.
    """
    plan = incumbent.plan
    found = []
    for place, (part, asked) in enumerate(zip(plan.parts, plan.problem.slots, strict=False)):
        if part.end <= start or part.start >= end:
            continue
        state = Doing.OFF if part.level is None else Doing.RUN
        cap = _cap(part, full_watts)
        reason = _why(part, plan.parts[place + 1 :], currency, cap)
        if asked.blocked:
            state, reason = Doing.HOLD, "quiet hours, or something else with a known end"
        begins, ends = max(part.start, start), min(part.end, end)
        slot = ScheduleSlot(begins, ends, part.price, currency, not part.known, state, cap, reason)
        found.append(slot)
    return found


def unplanned_slots(
    prices: Sequence[Slot], currency: str, state: Doing, reason: str
) -> list[ScheduleSlot]:
    """The prices, and the same in every slot, because no plan is followed."""
    return [
        ScheduleSlot(
            slot.start, slot.end, slot.price, currency, not slot.known, state, None, reason
        )
        for slot in prices
    ]


def under_holds(slots: Iterable[ScheduleSlot], holds: Iterable[Hold]) -> list[ScheduleSlot]:
    """The slots with what else holds the run now, and for as long as it is known to.

    A hold without an end covers everything: nobody knows when it goes on.
    """
    deep = [
        hold
        for hold in holds
        if hold.reason is not Reason.TARIFF and hold.effect in (Effect.PAUSE, Effect.RELEASE)
    ]
    return [_under(slot, deep) for slot in slots]


def _under(slot: ScheduleSlot, holds: Sequence[Hold]) -> ScheduleSlot:
    hold = next((h for h in holds if h.until is None or slot.start < h.until), None)
    if hold is None:
        return slot
    reason = f"{hold.reason.value}: {hold.detail}" if hold.detail else hold.reason.value
    return ScheduleSlot(
        slot.start, slot.end, slot.price, slot.currency, slot.forecast, Doing.HOLD, None, reason
    )


def next_change(slots: Sequence[ScheduleSlot]) -> datetime | None:
    """The first moment at which something else is done than in the first slot."""
    first = slots[0] if slots else None
    for slot in slots:
        if first and (slot.state, slot.cap_watts) != (first.state, first.cap_watts):
            return slot.start
    return None


def always_on_cost(plan: Plan, work_hours: float) -> float | None:
    """The same work at the fastest level from the plan's beginning on, at the plan's prices.

    None when the slots end before the work does. Holds and restarts are left out.
    """
    machine = plan.problem.machine
    level = max(machine.levels, key=lambda item: item.rate)
    left, cost = work_hours, 0.0
    for slot in plan.problem.slots:
        hours = min(slot.hours, left / level.rate)
        cost += slot.price * level.wall_watts / 1000.0 * hours
        left -= hours * level.rate
        if left <= 1e-9:
            return cost
    return None


def _cap(part: Part, full_watts: float | None) -> float | None:
    limit = part.level.limit_watts if part.level else None
    full = limit is None or full_watts is None or limit >= full_watts - 0.5
    return None if full else limit


def _why(part: Part, later: Sequence[Part], currency: str, cap: float | None) -> str:
    price = f"{part.price:.3f} {currency}/kWh"
    if part.level is not None:
        return f"{cap:.0f} W does most for its money at {price}" if cap else f"{price}: full power"
    following = next((other for other in later if other.level is not None), None)
    if following is None:
        return f"{price} is too dear"
    wait = following.start - part.start
    hours = wait / timedelta(hours=1)
    # the goal may be met without a slot that is no dearer than the next one that is used
    verdict = "is too dear" if following.price < part.price else "is not needed for the goal"
    return f"{price} {verdict}; {following.price:.3f} in {hours:.1f} h"
