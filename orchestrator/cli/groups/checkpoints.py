"""checkpoints: list, verify, save."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import render, times
from orchestrator.cli.render import Column
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import HomerunError

#: a large checkpoint on a slow disk takes minutes to write or to read
_DISK_TIMEOUT_SECONDS = 3600.0

_COLUMNS = (
    Column("RUN"),
    Column("STEP", right=True),
    Column("SAVED"),
    Column("SIZE", right=True),
    Column("NAME"),
    Column("WHY"),
)


@click.group()
def checkpoints() -> None:
    """Look after the saved states of the runs."""


@checkpoints.command("list")
@click.argument("run", required=False)
@json_option
@click.pass_obj
def list_(session: Session, run: str | None, as_json: bool) -> None:
    """List the checkpoints, newest first, of RUN or of all runs."""
    found = session.client().get("checkpoints", run=run)
    if as_json:
        emit("checkpoints", found)
        return
    if not found:
        click.echo("No checkpoints yet.", err=True)
        return
    lines = [_row(checkpoint, session) for checkpoint in found]
    click.echo("\n".join(render.table(_COLUMNS, lines, session.width, session.glyphs)))


@checkpoints.command()
@click.argument("run", required=False)
@click.option("--name", help="Only this checkpoint of RUN.")
@json_option
@click.pass_obj
def verify(session: Session, run: str | None, name: str | None, as_json: bool) -> None:
    """Read every byte again and compare the checksums.

    Exit code 1 says that a checkpoint is damaged; its problems are listed.
    """
    body = {"run": run, "name": name}
    click.echo("Reading the checkpoints...", err=True)
    verdicts = session.client().post("checkpoints/verify", body, _DISK_TIMEOUT_SECONDS)
    if as_json:
        emit("verdicts", verdicts)
    else:
        _print_verdicts(verdicts, session)
    damaged = [verdict["name"] for verdict in verdicts if not verdict["ok"]]
    if damaged:
        raise HomerunError(
            f"damaged: {', '.join(damaged)}",
            "nothing to do: a start falls back to the newest good one and puts these aside",
        )


@checkpoints.command()
@json_option
@click.pass_obj
def save(session: Session, as_json: bool) -> None:
    """Save the active run's last finished step now."""
    checkpoint = session.client().post("checkpoints/save", {}, _DISK_TIMEOUT_SECONDS)
    if as_json:
        emit("checkpoint", checkpoint)
        return
    step, size = render.count(checkpoint["step"]), render.size(checkpoint["size_bytes"])
    click.echo(f"Saved step {step} of {checkpoint['run']}: {checkpoint['name']}, {size}.")


def _row(checkpoint: dict[str, Any], session: Session) -> list[str]:
    created = times.from_json(checkpoint["created"])
    return [
        checkpoint["run"],
        render.count(checkpoint["step"]),
        times.stamp(created, session.now()),
        render.size(checkpoint["size_bytes"]),
        checkpoint["name"],
        checkpoint["reason"],
    ]


def _print_verdicts(verdicts: list[dict[str, Any]], session: Session) -> None:
    if not verdicts:
        click.echo("No checkpoints yet.", err=True)
    for verdict in verdicts:
        good = verdict["ok"]
        sign = session.glyphs.good if good else session.glyphs.bad
        mark = click.style(sign, fg="green" if good else "red")
        click.echo(f"{mark} {verdict['name']}  step {render.count(verdict['step'])}")
        for problem in verdict["problems"]:
            click.echo(f"    {render.clean(problem)}")
