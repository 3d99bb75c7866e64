"""energy: what the training used and cost."""

from __future__ import annotations

import click

from orchestrator.cli import energy_text
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import Invalid


@click.command()
@click.option(
    "--by",
    type=click.Choice(["day", "week", "run"]),
    default="day",
    show_default=True,
    help="What a line is about.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, times in UTC.")
@json_option
@click.pass_obj
def energy(session: Session, by: str, as_csv: bool, as_json: bool) -> None:
    """Show energy and money by day, week or run, from the ledger.

    Costs are at the prices that the ledger's rows carry; a missing price leaves the cost unknown.
    Avoided costs compare a run with the same tokens at the highest power that it had, from its
    beginning and without a break, at the same prices. Power drawn while no trainer runs is told
    apart and in no other figure.
    """
    if as_csv and as_json:
        raise Invalid("give --csv or --json, not both")
    summary = session.client().get("energy", by=by)
    if as_json:
        emit("energy", summary)
    elif as_csv:
        click.echo(energy_text.as_csv(summary), nl=False)
    elif not summary["lines"]:
        click.echo(energy_text.empty(), err=True)
    else:
        view = energy_text.View(session.width, session.glyphs)
        click.echo("\n".join(energy_text.lines(summary, view)))
