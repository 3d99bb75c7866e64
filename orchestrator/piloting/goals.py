"""What a person wants of the plan: a finish by a date, within a budget, or at a price. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.errors import Invalid

#: nobody waits longer, and times stay within what datetime can hold
_LATEST = timedelta(days=10 * 366)
_MOST_SLACK = 10.0
_FIX = "as homerun deadline RUN 2027-01-31, --slack 0.5, --budget 25, --value 0.02, or --off"


class GoalKind(enum.StrEnum):
    """What is given; the rest follows from it."""

    #: no plan: full power whenever nothing holds
    OFF = "off"
    #: done by a date, as cheaply as possible
    DEADLINE = "deadline"
    #: so much longer than at full power without a break; becomes a date once the speed is known
    SLACK = "slack"
    #: done as early as the money allows
    BUDGET = "budget"
    #: runs whenever a million tokens cost no more than this
    VALUE = "value"


@dataclass(frozen=True)
class Goal:
    """One wish. Money is in the tariff's currency."""

    kind: GoalKind = GoalKind.OFF
    deadline: datetime | None = None
    slack: float | None = None
    #: BUDGET: for all of the run; VALUE: for a million tokens
    money: Decimal | None = None

    @property
    def words(self) -> str:
        """For the journal and for people."""
        match self.kind:
            case GoalKind.DEADLINE:
                return f"done by {self.deadline:%F %H:%M} UTC, as cheaply as possible"
            case GoalKind.SLACK:
                return f"as cheaply as possible within {1 + (self.slack or 0):g} times its time"
            case GoalKind.BUDGET:
                return f"done as early as {self.money} allow"
            case GoalKind.VALUE:
                return f"runs while a million tokens cost at most {self.money}"
        return "no plan, full power whenever nothing holds"

    def checked(self, now: datetime) -> Goal:
        """Itself; raises Invalid when its parts do not go together."""
        match self.kind:
            case GoalKind.DEADLINE:
                if self.deadline is None:
                    raise Invalid("deadline: missing", _FIX)
                if self.deadline <= now:
                    raise Invalid(f"{self.deadline:%F %H:%M} UTC has passed", "give a later day")
                if self.deadline - now > _LATEST:
                    raise Invalid("the deadline is more than ten years away", _FIX)
            case GoalKind.SLACK:
                if self.slack is None or not 0.0 <= self.slack <= _MOST_SLACK:
                    raise Invalid(f"slack: must be 0 to {_MOST_SLACK:g}", "0.5 is half more time")
            case GoalKind.BUDGET | GoalKind.VALUE:
                if self.money is None or not self.money.is_finite() or self.money <= 0:
                    raise Invalid(f"{self.kind}: must be an amount of money above 0", _FIX)
        return self


@dataclass(frozen=True)
class RunGoal:
    """A run's goal, and where it stood when the goal was set."""

    run: str
    kind: GoalKind
    since: datetime
    deadline: datetime | None = None
    slack: float | None = None
    money: Decimal | None = None
    #: tokens still to train then; None until the trainer has said how many there are
    tokens_left: int | None = None
    #: it is the configuration's, and follows it
    usual: bool = False

    @property
    def goal(self) -> Goal:
        """Without the run."""
        return Goal(self.kind, self.deadline, self.slack, self.money)


def goal_from(
    deadline: datetime | None, slack: float | None, budget: Decimal | None, value: Decimal | None
) -> Goal:
    """The goal of at most one of these; raises Invalid for several."""
    given = [
        goal
        for goal, part in (
            (Goal(GoalKind.DEADLINE, deadline=deadline), deadline),
            (Goal(GoalKind.SLACK, slack=slack), slack),
            (Goal(GoalKind.BUDGET, money=budget), budget),
            (Goal(GoalKind.VALUE, money=value), value),
        )
        if part is not None
    ]
    if len(given) > 1:
        raise Invalid("give one of deadline, slack, budget and value, not several", _FIX)
    return given[0] if given else Goal()
