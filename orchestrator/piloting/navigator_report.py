"""The navigator's answers to readers: the schedule and the cost-against-finish curve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.domain import Hold, PlanView, RunView, Snapshot
from orchestrator.piloting.pilot import Pilot
from orchestrator.piloting.schedule_report import (
    CurveReport,
    Doing,
    ScheduleReport,
    ScheduleSlot,
    always_on_cost,
    curve_dates,
    next_change,
    planned_slots,
    under_holds,
    unplanned_slots,
)
from orchestrator.planning import schedule
from orchestrator.planning.measured import Measured
from orchestrator.planning.picture import advice
from orchestrator.planning.plan import flat_out, tally
from orchestrator.planning.problem import Problem, Slot, Standing, coarsened, until
from orchestrator.power.speedometer import LOADED

if TYPE_CHECKING:
    from orchestrator.piloting.helm import Helm

#: without a deadline the curve looks so far past the earliest finish
_AHEAD = timedelta(days=14)
_POINTS = 12
_DONE = "the work is done"


def schedule_report(
    snapshot: Snapshot,
    now: datetime,
    hours: int,
    prices: Sequence[Slot],
    pilot: Pilot | None,
    view: PlanView | None,
    helm: Helm,
) -> ScheduleReport:
    """See ``Navigator.schedule``."""
    end = now + timedelta(hours=hours)
    incumbent = pilot.incumbent if pilot else None
    currency = helm.currency
    if snapshot.run is None or view is None:
        slots = unplanned_slots(prices, currency, Doing.OFF, "no run is active")
    elif incumbent is None:
        remark = view.remark.rstrip(".")
        slots = unplanned_slots(prices, currency, Doing.RUN, f"full power: {remark}")
    else:
        slots = planned_slots(incumbent, now, end, currency, helm.gear.full_watts)
        reached = slots[-1].end if slots else now
        rest = [slot for slot in prices if slot.start >= reached]
        slots += unplanned_slots(rest, currency, Doing.OFF, _DONE)
    slots = under_holds(slots, snapshot.holds)
    plan = incumbent.plan if incumbent else None
    left = plan.problem.work_hours if plan else 0.0
    return ScheduleReport(
        time=now,
        run=snapshot.run.name if snapshot.run else None,
        goal=view.goal if view else "off",
        mode=view.mode if view else "",
        made=view.made if view else None,
        remark=view.remark if view else "",
        currency=currency,
        known_until=_known_until(slots),
        next_change=next_change(slots),
        deadline=view.deadline if view else None,
        finish=view.finish if view else None,
        cost=view.cost if view else None,
        energy_kwh=view.energy_kwh if view else None,
        gap_ratio=view.gap_ratio if view else None,
        always_on_cost=always_on_cost(plan, left) if plan else None,
        slots=tuple(slots),
    )


def curve_report(
    run: RunView,
    now: datetime,
    work_hours: float,
    deadline: datetime | None,
    measured: Measured,
    helm: Helm,
    holds: Sequence[Hold],
) -> CurveReport:
    """See ``Navigator.curve``."""
    machine = replace(helm.machine(run), levels=measured.levels)
    hours = work_hours / machine.full_rate
    far = deadline if deadline and deadline > now else None
    end = far or now + timedelta(hours=2.0 * hours) + _AHEAD
    slots = helm.prices_between(now, end)
    currency = helm.currency
    if not slots:
        return CurveReport(now, run.name, currency, far, (), "no prices are known")
    on = run.attempt is not None and run.phase != "paused"
    pause = 0 if run.phase in LOADED else len(machine.pauses) - 1
    problem = Problem(coarsened(slots), machine, work_hours, Standing(on, pause=pause))
    if far is None:
        finish = tally(problem, flat_out(problem)).finish
        if finish is not None:
            problem = replace(problem, slots=until(problem.slots, finish + _AHEAD))
    points = schedule.curve(problem, _POINTS)
    return CurveReport(now, run.name, currency, far, curve_dates(points), advice(points, currency))


def _known_until(slots: Sequence[ScheduleSlot]) -> datetime | None:
    guessed = next((slot for slot in slots if slot.forecast), None)
    return guessed.start if guessed else None
