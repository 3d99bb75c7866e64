"""The fake backend's plan: invented prices, and the real planner on them."""

from __future__ import annotations

import functools
import math
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.domain import Bill, PlanView
from orchestrator.home.clock import Clock
from orchestrator.piloting.goals import Goal, GoalKind, RunGoal
from orchestrator.piloting.schedule_report import (
    CurveReport,
    ScheduleReport,
    always_on_cost,
    curve_dates,
    next_change,
    planned_slots,
)
from orchestrator.planning import schedule
from orchestrator.planning.levels import assumed_levels
from orchestrator.planning.online import Incumbent, Mode, Why
from orchestrator.planning.picture import advice
from orchestrator.planning.plan import Plan
from orchestrator.planning.problem import Machine, Pause, Problem, Slot, Standing
from orchestrator.planning.schedule import CurvePoint

_RUN, _CURRENCY, _FULL_WATTS = "evening", "EUR", 200.0
_WORK_HOURS, _DAYS, _PUBLISHED_HOURS = 30.0, 3, 34


BILLS = (
    Bill(_RUN, _CURRENCY, Decimal("1.42"), Decimal("4.61"), Decimal("0.37"), Decimal("0.061")),
)


class FakePlan:
    """One run with a deadline in three days."""

    _clock: Clock
    _plan_view: PlanView | None = None

    def plan_view(self) -> PlanView:
        """The plan in short, as of the first time that somebody asks."""
        if self._plan_view is None:
            told = self.schedule(48)
            self._plan_view = PlanView(
                goal=told.goal,
                mode=told.mode,
                made=told.made,
                remark=told.remark,
                deadline=told.deadline,
                finish=told.finish,
                next_change=told.next_change,
                currency=told.currency,
                cost=told.cost,
                energy_kwh=told.energy_kwh,
                gap_ratio=told.gap_ratio,
                forecast=False,
            )
        return self._plan_view

    def schedule(self, hours: int) -> ScheduleReport:
        """See ``Backend.schedule``."""
        now = self._clock.now()
        problem, plan = _planned(now)
        known_until = problem.slots[0].start + timedelta(hours=_PUBLISHED_HOURS)
        incumbent = Incumbent(plan, Mode.CHEAPEST, now, known_until, _WORK_HOURS, Why.FIRST)
        end = now + timedelta(hours=hours)
        slots = planned_slots(incumbent, now, end, _CURRENCY, _FULL_WATTS)
        return ScheduleReport(
            time=now,
            run=_RUN,
            goal=GoalKind.DEADLINE.value,
            mode=Mode.CHEAPEST.value,
            made=now,
            remark="An invented plan on invented prices.",
            currency=_CURRENCY,
            known_until=known_until,
            next_change=next_change(slots),
            deadline=problem.slots[-1].end,
            finish=plan.finish,
            cost=plan.cost,
            energy_kwh=plan.kilowatt_hours,
            gap_ratio=plan.gap,
            always_on_cost=always_on_cost(plan, _WORK_HOURS),
            slots=tuple(slots),
        )

    def schedule_curve(self) -> CurveReport:
        """See ``Backend.schedule_curve``."""
        now = self._clock.now()
        problem, _ = _planned(now)
        points = _curve(now)
        deadline = problem.slots[-1].end
        remark = advice(points, _CURRENCY)
        return CurveReport(now, _RUN, _CURRENCY, deadline, curve_dates(points), remark)

    def set_goal(self, run: str, goal: Goal, source: str) -> RunGoal:
        """See ``Backend.set_goal``."""
        now = self._clock.now()
        wanted = goal.checked(now)
        return RunGoal(run, wanted.kind, now, wanted.deadline, wanted.slack, wanted.money)


# One plan for all who ask at a moment: a page asks again and again, and many tests stand still.
@functools.lru_cache(maxsize=8)
def _planned(now: datetime) -> tuple[Problem, Plan]:
    problem = _problem(now)
    return problem, schedule.by_deadline(problem)


@functools.lru_cache(maxsize=8)
def _curve(now: datetime) -> list[CurvePoint]:
    return schedule.curve(_problem(now))


def _problem(now: datetime) -> Problem:
    hour = timedelta(hours=1)
    start = now.replace(minute=0, second=0, microsecond=0)
    slots = tuple(
        Slot(
            start + n * hour, start + (n + 1) * hour, _price(start + n * hour), n < _PUBLISHED_HOURS
        )
        for n in range(24 * _DAYS)
    )
    pauses = (Pause("pause", 15.0, 0.0), Pause("release", 0.0, 180.0))
    machine = Machine(assumed_levels(100.0, _FULL_WATTS), pauses)
    return Problem(slots, machine, _WORK_HOURS, Standing(on=True))


def _price(moment: datetime) -> float:
    """Dear in the morning and in the evening, as at home."""
    turn = moment.hour / 24 * 2 * math.pi
    return round(0.29 - 0.05 * math.cos(turn) - 0.07 * math.cos(2 * turn), 4)
