"""What ``config check`` says about what runs are planned for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import times
from orchestrator.cli.session import Session
from orchestrator.piloting.goals import GoalKind

if TYPE_CHECKING:
    from orchestrator.settings.config import Config


def sentences(session: Session, config: Config) -> list[str]:
    """One sentence, and one more where the goal cannot do what it says."""
    goal, now = config.plan.goal, session.now()
    if goal.kind is GoalKind.OFF:
        return []
    currency = config.tariff.currency
    match goal.kind:
        case GoalKind.DEADLINE:
            assert goal.deadline is not None, "a deadline has a date"
            if goal.deadline <= now:
                return ["plan: plan.deadline has passed, so runs go at full power; set a later one"]
            what = f"done by {times.moment(goal.deadline, now)}, as cheaply as possible"
        case GoalKind.SLACK:
            what = f"as cheaply as possible in {1 + (goal.slack or 0.0):g} times the time of a run"
        case GoalKind.BUDGET:
            what = f"done as early as {goal.money} {currency} allow, for each run"
        case _:
            what = f"runs while a million tokens cost at most {goal.money} {currency}"
    lines = [f"plan: {what}"]
    if not config.tariff.configured:
        lines.append("plan: no tariff is configured, so runs go at full power; set [tariff]")
    return lines
