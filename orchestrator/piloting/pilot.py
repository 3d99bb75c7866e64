"""The pilot: keeps the plan in force and says, as a sense, what it wants right now.

``consider`` may plan, which takes a moment; ``look`` only reads. In the daemon a chore calls the
first and the tick the second; the simulator calls both in turn, so that a month is reproducible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.senses import Moment
from orchestrator.planning import online
from orchestrator.planning.heuristics import daily_cap
from orchestrator.planning.measured import Measured, Reading
from orchestrator.planning.online import Goal, Incumbent, Mode, Outlook, Purse, Rules, Why
from orchestrator.planning.plan import Part
from orchestrator.planning.problem import Machine, Slot, Standing

#: a limit that is this close to the default is no cap
_SAME_WATTS = 0.5


class Prices(Protocol):
    """What is known of prices now."""

    def known_until(self, now: datetime) -> datetime:
        """Up to here prices are published."""

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """[now, end) without gaps: published, then forecast. Empty: nothing is known at all."""


@dataclass(frozen=True)
class Running:
    """What the pilot has to know of the run."""

    work_left_hours: float
    #: whether it computes now
    on: bool
    #: whether its process lives, paused or not
    loaded: bool = False


class Pilot:
    """Plans for one run towards one goal."""

    def __init__(
        self,
        goal: Goal,
        machine: Machine,
        prices: Prices,
        *,
        currency: str,
        default_watts: float | None = None,
        rules: Rules | None = None,
        lost_hours: float = 0.0,
        house: Callable[[tuple[Slot, ...]], tuple[Slot, ...]] = lambda slots: slots,
        measured: Measured | None = None,
        purse: Callable[[], Purse] | None = None,
    ) -> None:
        """A pilot that has planned nothing yet.

        Args:
            default_watts: the card's default limit; None where no limit may be set.
            lost_hours: to outages and others since the goal's start.
            house: adds what the house asks for, quiet hours say, to the slots.
            measured: what was measured of ``machine``'s levels by an earlier pilot.
            purse: a wish without a date; the goal's deadline is then only how far it looks.
        """
        self._goal, self._prices, self._house = goal, prices, house
        self._purse = purse
        self._measured = measured or Measured.of(machine.levels)
        self._machine = replace(machine, levels=self._measured.levels)
        self._currency, self._default_watts = currency, default_watts
        self._rules = rules or Rules()
        self._lost_hours, self._disturbed = lost_hours, False
        self._asked: datetime | None = None
        self._on: bool | None = None
        self._since: datetime | None = None
        self.incumbent: Incumbent | None = None

    # --- plan -------------------------------------------------------------------------------

    @property
    def measured(self) -> Measured:
        """What the levels give, as far as anybody knows."""
        return self._measured

    @property
    def machine(self) -> Machine:
        """What can be chosen from, as it was measured."""
        return self._machine

    @property
    def goal(self) -> Goal:
        """What it plans for."""
        return self._goal

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """Prices and what the house asks for; empty when no price is known."""
        return self._house(self._prices.slots(now, end))

    def observe(self, reading: Reading) -> None:
        """Take in how fast and how hungry the run was at a level."""
        self._measured = self._measured.fold(reading)
        self._machine = replace(self._machine, levels=self._measured.levels)

    def consider(self, now: datetime, running: Running, *, event: bool = False) -> str:
        """Plan again if there is a reason to. What came of it in words, or "" for no news."""
        event = self._disturbance(now, running) or event
        standing = self._standing(now, running)
        outlook = Outlook(
            now,
            (),
            self._prices.known_until(now),
            self._machine,
            standing,
            running.work_left_hours,
        )
        why = online.reason_to_plan(self.incumbent, outlook, self._goal, self._rules, event=event)
        if why is None or running.work_left_hours <= 0.0 or now >= self._goal.deadline:
            if now >= self._goal.deadline:
                self.incumbent = None
            return ""
        slots = self.slots(now, self._goal.deadline)
        if not slots:
            self.incumbent = None
            return "No prices are known: it runs at full power."
        self.incumbent = self._planned(replace(outlook, slots=slots), why)
        return self._news(self.incumbent)

    def _planned(self, outlook: Outlook, why: Why) -> Incumbent:
        try:
            if self._purse is not None:
                return online.plan_for_money(outlook, self._purse(), why)
            rules = self._rules_now(outlook.now)
            return online.plan_again(self.incumbent, outlook, self._goal, rules, why)
        except (ArithmeticError, ValueError):
            # A rule that needs no forecast and hardly any arithmetic, rather than no plan.
            plan = daily_cap(online.problem_of(outlook))
            return Incumbent(
                plan,
                Mode.FALLBACK,
                outlook.now,
                outlook.known_until,
                outlook.work_left_hours,
                why,
            )

    def _disturbance(self, now: datetime, running: Running) -> bool:
        """Whether something that had kept the run from its plan has just ended."""
        part = self.incumbent.plan.part_at(now) if self.incumbent else None
        if part is not None and part.level is not None and not running.on and not running.loaded:
            if self._disturbed and self._asked is not None:
                self._lost_hours += (now - self._asked) / timedelta(hours=1)
            self._asked, self._disturbed = now, True
            return False
        ended, self._disturbed = self._disturbed and running.on, self._disturbed and not running.on
        return ended

    def _rules_now(self, now: datetime) -> Rules:
        """The reserve grows with what was lost so far to outages, games and people."""
        hours = max(1.0, (now - self._goal.start) / timedelta(hours=1))
        seen = min(0.5, self._lost_hours / hours)
        return replace(self._rules, reserve_fraction=max(self._rules.reserve_fraction, seen))

    def _standing(self, now: datetime, running: Running) -> Standing:
        on, pauses = running.on, self._machine.pauses
        if on != self._on or self._since is None:
            # Of what was before our time nothing is known: long ago.
            self._since = None if self._on is None else now
            self._on = on
        age = 1e9 if self._since is None else (now - self._since).total_seconds()
        pause = 0 if running.loaded else len(pauses) - 1
        return Standing(on, age, 0.0, pause)

    def _news(self, incumbent: Incumbent) -> str:
        plan = incumbent.plan
        cost = f"{plan.cost:.2f} {self._currency}"
        if incumbent.mode is Mode.VALUE and plan.finish is None:
            return f"Planned ({incumbent.why}): it runs where that is worth its money."
        if plan.finish is None:
            return f"The work does not fit before the deadline: flat out, {cost} until then."
        gap = "" if plan.gap is None else f", at most {plan.gap:.3%} above the best"
        return (
            f"Planned ({incumbent.why}): done {plan.finish:%F %H:%M} UTC, "
            f"{plan.kilowatt_hours:.1f} kWh, {cost}{gap}, {plan.starts} starts."
        )

    # --- sense ------------------------------------------------------------------------------

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``: the plan's setpoint for now, as a hold of the tariff."""
        incumbent = self.incumbent
        part = incumbent.plan.part_at(moment.now) if incumbent else None
        if incumbent is None or part is None or moment.run is None:
            return ()
        if part.level is None:
            return (self._wait(incumbent, part),)
        limit = part.level.limit_watts
        full = limit is None or self._default_watts is None
        if full or limit is None or limit >= (self._default_watts or 0.0) - _SAME_WATTS:
            return ()
        return (
            Hold(
                Reason.TARIFF,
                Effect.CAP,
                "planner",
                part.start,
                until=None,
                detail=f"{limit:.0f} W does most for its money at {self._money(part)}",
                cap_watts=limit,
            ),
        )

    def _wait(self, incumbent: Incumbent, part: Part) -> Hold:
        rest = [other for other in incumbent.plan.parts if other.start >= part.end]
        following = next((other for other in rest if other.level is not None), None)
        effect = Effect.PAUSE if part.pause and part.pause.name == "pause" else Effect.RELEASE
        then = f"; goes on at {self._money(following)}" if following else ""
        return Hold(
            Reason.TARIFF,
            effect,
            "planner",
            part.start,
            until=following.start if following else None,
            detail=f"{self._money(part)} now{then}",
        )

    def _money(self, part: Part) -> str:
        guessed = "" if part.known else " (forecast)"
        return f"{part.price:.3f} {self._currency}/kWh{guessed}"

    def next_change(self, now: datetime) -> datetime | None:
        """When the plan next wants something else than at ``now``; None when it never does."""
        if self.incumbent is None:
            return None
        parts = [part for part in self.incumbent.plan.parts if part.end > now]
        wanted = (parts[0].level, parts[0].pause) if parts and parts[0].start <= now else None
        for part in parts:
            if (part.level, part.pause) != wanted:
                return part.start
        return parts[-1].end if parts else None
