"""The [plan] table of homerun.toml: what runs are planned for, and how carefully."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.piloting.goals import Goal, GoalKind
from orchestrator.planning.online import Rules
from orchestrator.settings.section import Duration, Section, contradiction
from orchestrator.tariff.table import Money


def _day(value: Any) -> Any:
    """TOML has dates of its own; both ways of writing one are right."""
    if isinstance(value, datetime | date):
        value = value.isoformat()
    if isinstance(value, str) and value:
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"no date: {value!r}; write it as 2027-01-31") from None
    return value


Positive = Annotated[Money, Field(gt=0)]


class PlanConfig(Section):
    """What runs are planned for, unless homerun deadline says otherwise. Nothing set: no plan."""

    deadline: Annotated[str, BeforeValidator(_day)] = Field(
        default="",
        examples=["2027-01-31"],
        description="Done by this day or time, as cheaply as possible; on the machine's clock.",
    )
    slack: Annotated[float, Field(ge=0.0, le=10.0)] | None = Field(
        default=None,
        examples=[0.5],
        description="Instead: so much longer than at full power without a break; 0.5 is half "
        "more. The deadline stands once the run's speed has been measured.",
    )
    budget: Positive | None = Field(
        default=None,
        examples=[25.0],
        description="Instead: done as early as this much money allows, for all of a run.",
    )
    value: Positive | None = Field(
        default=None,
        examples=[0.02],
        description="Instead: run whenever a million tokens cost no more than this.",
    )
    most_lag: float = Field(
        default=0.25,
        ge=0.0,
        le=1.0,
        description="How far the work may lag behind even progress, as a fraction of the slack.",
    )
    reserve: Duration = Field(
        default=7200.0,
        description="Time kept before the deadline for what will go wrong, besides 3 % of the "
        "work, or what outages took so far.",
    )
    restart: Duration = Field(
        default=120.0,
        description="What a start costs, until it was measured: load, compile, warm up.",
    )
    paused_watts: Annotated[float, Field(ge=0.0, le=20_000.0)] = Field(
        default=0.0,
        description="What the machine draws at the wall while it waits, if it would be off "
        "without the run. 0: it is on anyway.",
    )

    @model_validator(mode="after")
    def _one_goal(self) -> Self:
        given = [key for key in ("deadline", "slack", "budget", "value") if self._has(key)]
        if len(given) > 1:
            raise contradiction(given[1], f"give {given[0]} or {given[1]}, not both")
        return self

    def _has(self, key: str) -> bool:
        return getattr(self, key) not in (None, "")

    @property
    def goal(self) -> Goal:
        """What it asks for."""
        if self.deadline:
            return Goal(GoalKind.DEADLINE, deadline=moment_of(self.deadline))
        if self.slack is not None:
            return Goal(GoalKind.SLACK, slack=self.slack)
        if self.budget is not None:
            return Goal(GoalKind.BUDGET, money=self.budget)
        return Goal(GoalKind.VALUE, money=self.value) if self.value is not None else Goal()

    @property
    def rules(self) -> Rules:
        """The numbers that the planner goes by."""
        return Rules(most_lag=self.most_lag, reserve_hours=self.reserve / 3600.0)


def moment_of(text: str) -> datetime:
    """A date or time of the machine's own zone in UTC; a day without a time means its end."""
    moment = datetime.fromisoformat(text)
    if len(text) <= len("2027-01-31"):
        moment = datetime.combine(moment.date(), time(23, 59, 59))
    return moment.astimezone(UTC)
