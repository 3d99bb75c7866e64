"""schedule, deadline: what the daemon will do and why, and what its plan is for."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli import schedule_text, sizes, times
from orchestrator.cli.completing import run_argument
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import Invalid

_MOST_HOURS = 24 * 60
#: drawing the curve is a dozen plans
_CURVE_TIMEOUT_SECONDS = 60.0


@click.command()
@click.option(
    "--hours",
    type=click.IntRange(1, _MOST_HOURS),
    default=48,
    show_default=True,
    help="How far ahead.",
)
@click.option("--curve", is_flag=True, help="The cost of each finish date instead.")
@json_option
@click.pass_obj
def schedule(session: Session, hours: int, curve: bool, as_json: bool) -> None:
    """Show what the running daemon will do in the next hours, slot by slot, and why.

    Without a goal (homerun deadline, or [plan] in the configuration) nothing is planned: the run
    goes on whenever nothing holds it.
    """
    view = schedule_text.View(session.now(), session.width, session.glyphs)
    if curve:
        found = session.client(_CURVE_TIMEOUT_SECONDS).get("schedule/curve")
        lines = schedule_text.curve(found, view) if not as_json else []
    else:
        found = session.client().get("schedule", hours=hours)
        lines = schedule_text.schedule(found, view) if not as_json else []
    if as_json:
        emit("curve" if curve else "schedule", found)
        return
    click.echo("\n".join(lines))


@click.command()
@run_argument()
@click.argument("when", required=False)
@click.option("--slack", type=float, metavar="R", help="So much longer than at once: 0.5, half.")
@click.option("--budget", metavar="MONEY", help="As early as so much money allows.")
@click.option("--value", metavar="MONEY", help="While a million tokens cost no more than this.")
@click.option("--off", is_flag=True, help="No plan: full power whenever nothing holds.")
@json_option
@click.pass_obj
def deadline(
    session: Session,
    run: str,
    when: str | None,
    slack: float | None,
    budget: str | None,
    value: str | None,
    off: bool,
    as_json: bool,
) -> None:
    """Say what the plan of RUN is for; it counts at once, also while it runs.

    WHEN is a span, as 30d, or a day, as 2027-01-31: done by then, as cheaply as possible.
    """
    given = [when, slack, budget, value, off or None]
    if sum(item is not None for item in given) != 1:
        raise Invalid(
            "give one of WHEN, --slack, --budget, --value and --off", "homerun deadline --help"
        )
    body = goal_body(session, when, slack, budget, value)
    goal = session.client().post(f"runs/{quote(run, safe='')}/goal", body)
    if as_json:
        emit("goal", goal)
        return
    click.echo(_told(goal, session))


def goal_body(
    session: Session, when: str | None, slack: float | None, budget: str | None, value: str | None
) -> dict[str, Any]:
    """What the API is sent for a goal; raises Invalid for a date that is none."""
    body: dict[str, Any] = {"slack": slack, "budget": budget, "value": value}
    if when is not None:
        body["seconds"] = sizes.parse_deadline(when, session.now())
    return {key: item for key, item in body.items() if item is not None}


def _told(goal: dict[str, Any], session: Session) -> str:
    run = goal["run"]
    match goal["kind"]:
        case "deadline":
            until = times.until(times.from_json(goal["deadline"]), session.now())
            what = f"done by {until}, as cheaply as possible"
        case "slack":
            what = f"as cheaply as possible in {1 + goal['slack']:g} times its time"
        case "budget":
            what = f"done as early as {goal['money']:g} allow"
        case "value":
            what = f"runs while a million tokens cost at most {goal['money']:g}"
        case _:
            return f"{run}: no plan, full power whenever nothing holds it."
    return f"{run}: {what}. homerun schedule shows the plan."
