"""What every pilot of this home is given: gear, prices, quiet hours, rules, the money spent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.domain import Hold, RunView
from orchestrator.holds.quiet_hours import Quiet
from orchestrator.holds.quiet_slots import held_slots, quiet_slots
from orchestrator.piloting.goals import Goal, GoalKind, RunGoal
from orchestrator.piloting.pilot import Pilot
from orchestrator.piloting.pilot_prices import Keeper, TariffPrices
from orchestrator.planning import online
from orchestrator.planning.measured import Measured
from orchestrator.planning.online import Purse
from orchestrator.planning.problem import Machine, Slot
from orchestrator.power.gear import Gear
from orchestrator.settings.plan_config import PlanConfig

#: how far a wish without a date looks ahead, in hours
_LEAST_AHEAD, _MOST_AHEAD = 7 * 24.0, 60 * 24.0
#: how often the work fits in there
_ROOM = 4.0


#: wishes without a date
DATELESS = (GoalKind.BUDGET, GoalKind.VALUE)


class HomePrices:
    """The tariff, at the margin of the tier in which the household is. See ``pilot.Prices``."""

    def __init__(
        self, keeper: Keeper, far: datetime, used_kwh: Callable[[datetime, datetime], Decimal]
    ) -> None:
        """Prices of ``keeper``.

        Args:
            used_kwh: at a time, and up to a time: what homerun will have used in the billing
                period by its end, if it runs until then.
        """
        self._keeper, self._far, self._used_kwh = keeper, far, used_kwh

    def known_until(self, now: datetime) -> datetime:
        """See ``pilot.Prices.known_until``."""
        return TariffPrices(self._keeper, self._far).known_until(now)

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """See ``pilot.Prices.slots``."""
        used = self._used_kwh(now, end)
        return TariffPrices(self._keeper, self._far, used).slots(now, end)


class Helm:
    """See the module."""

    def __init__(
        self,
        gear: Gear,
        plan: PlanConfig,
        keeper: Keeper,
        quiet: Quiet,
        used_kwh: Callable[[datetime, datetime], Decimal],
        spent: Callable[[str], Decimal],
        lost_hours: Callable[[str], float],
    ) -> None:
        """All of it.

        Args:
            spent: what a run has cost so far.
            lost_hours: what outages took from a run so far.
        """
        self.gear, self.usual = gear, plan.goal
        self._plan, self._keeper, self._quiet = plan, keeper, quiet
        self._used_kwh, self._spent, self._lost_hours = used_kwh, spent, lost_hours
        #: that hold the run now; the navigator tells them
        self.holds: tuple[Hold, ...] = ()

    @property
    def currency(self) -> str:
        """Of the tariff; empty without one."""
        return self._keeper.view().currency

    @property
    def on_for_the_run(self) -> bool:
        """Whether the machine would be off without the run, so that all it draws counts."""
        return self._plan.paused_watts > 0.0

    def machine(self, run: RunView) -> Machine:
        """The choices; a restart also costs half a step on average."""
        restart = self._plan.restart + (run.step_seconds or 0.0) / 2.0
        return self.gear.machine(self._plan.paused_watts, restart)

    def house(self, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
        """The slots with what the house asks for in them."""
        may_limit = self.gear.full_watts is not None
        return held_slots(self.holds, quiet_slots(self._quiet, slots, may_limit=may_limit))

    def prices_between(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """Prices and the house until ``end``; empty when no price is known."""
        return self.house(HomePrices(self._keeper, end, self._used_kwh).slots(now, end))

    def pilot(
        self, goal: RunGoal, work_hours: float, measured: Measured, run: RunView, now: datetime
    ) -> Pilot:
        """A pilot for a run whose whole work, from the goal's beginning on, is ``work_hours``."""
        since, deadline = goal.since, goal.deadline
        if deadline is None or goal.kind in DATELESS:
            ahead = min(max(work_hours * _ROOM, _LEAST_AHEAD), _MOST_AHEAD)
            since, deadline = now, now + timedelta(hours=ahead)
        return Pilot(
            online.Goal(work_hours, since, deadline),
            self.machine(run),
            HomePrices(self._keeper, deadline, self._used_kwh),
            currency=self.currency,
            default_watts=self.gear.full_watts,
            rules=self._plan.rules,
            lost_hours=self._lost_hours(run.name),
            house=self.house,
            measured=measured,
            purse=self._purse(goal, measured),
        )

    def _purse(self, goal: RunGoal, measured: Measured) -> Callable[[], Purse] | None:
        money = goal.money
        if money is None:
            return None
        if goal.kind is GoalKind.BUDGET:
            return lambda: Purse(budget=max(0.0, float(money - self._spent(goal.run))))
        if goal.kind is GoalKind.VALUE:
            full = measured.full_tokens_per_second or 0.0
            return lambda: Purse(value=float(money) * full * 3600.0 / 1e6)
        return None


def is_usual(goal: RunGoal, usual: Goal) -> bool:
    """Whether a goal that came from the configuration still is what the configuration says."""
    if goal.kind is not usual.kind or goal.slack != usual.slack or goal.money != usual.money:
        return False
    return usual.kind is not GoalKind.DEADLINE or goal.deadline == usual.deadline
