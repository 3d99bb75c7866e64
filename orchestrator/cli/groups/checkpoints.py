"""checkpoints: list, verify, save, prune, pin, unpin, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.cli import render, times
from orchestrator.cli.completing import run_argument
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
    Column("PVM"),
    Column("NAME"),
    Column("WHY"),
)

_PLAN = (
    Column("STEP", right=True),
    Column("SIZE", right=True),
    Column("NAME"),
    Column(""),
    Column("WHY"),
)


@click.group()
def checkpoints() -> None:
    """Look after the saved states of the runs."""


@checkpoints.command("list")
@run_argument(required=False)
@json_option
@click.pass_obj
def list_(session: Session, run: str | None, as_json: bool) -> None:
    """List the checkpoints, newest first, of RUN or of the current run.

    P: pinned. V: verified, every byte was read again and was right; --json says when. M: the
    mirror has it, too.
    """
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
@run_argument(required=False)
@click.option("--name", help="Only this checkpoint of RUN.")
@click.option("--all", "every", is_flag=True, help="The checkpoints of all runs.")
@json_option
@click.pass_obj
def verify(session: Session, run: str | None, name: str | None, every: bool, as_json: bool) -> None:
    """Read every byte again and compare the checksums.

    Exit code 1 says that a checkpoint is damaged; its problems are listed.
    """
    if every and (run or name):
        raise click.UsageError("--all goes with neither RUN nor --name")
    client = session.client()
    runs = [item["name"] for item in client.get("runs")] if every else [run]
    click.echo("Reading the checkpoints...", err=True)
    verdicts = []
    for one in runs:
        body = {"run": one, "name": name}
        found = client.post("checkpoints/verify", body, _DISK_TIMEOUT_SECONDS)
        verdicts += [{**verdict, "run": one} if every else verdict for verdict in found]
    if as_json:
        emit("verdicts", verdicts)
    else:
        _print_verdicts(verdicts, session)
    damaged = [verdict["name"] for verdict in verdicts if not verdict["ok"]]
    if damaged:
        raise HomerunError(
            f"damaged: {', '.join(damaged)}",
            "nothing to do: what is damaged is set aside, and a start uses the newest good one",
        )


@checkpoints.command()
@run_argument(required=False)
@click.option("--dry-run", is_flag=True, help="Only say what would go, and why.")
@json_option
@click.pass_obj
def prune(session: Session, run: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete the checkpoints of RUN that retention has no reason to keep.

    The daemon does so by itself after each save. Never fewer than two stay, nor does the last
    good one or a pinned one go.
    """
    body = {"run": run, "dry_run": dry_run}
    choices = session.client().post("checkpoints/prune", body, _DISK_TIMEOUT_SECONDS)
    if as_json:
        emit("checkpoints", choices)
        return
    goes = "would go" if dry_run else "deleted"
    rows = [
        [
            render.count(choice["step"]),
            render.size(choice["size_bytes"]),
            choice["name"],
            "stays" if choice["keep"] else goes,
            choice["why"],
        ]
        for choice in choices
    ]
    if rows:
        click.echo("\n".join(render.table(_PLAN, rows, session.width, session.glyphs)))
    gone = [choice for choice in choices if not choice["keep"]]
    room = render.size(sum(choice["size_bytes"] for choice in gone))
    click.echo(f"{len(gone)} of {len(choices)} {goes}, {room}.")


@checkpoints.command()
@click.argument("name")
@click.option("--run", help="The run that it belongs to, instead of the active one.")
@click.pass_obj
def pin(session: Session, name: str, run: str | None) -> None:
    """Keep checkpoint NAME until it is unpinned."""
    session.client().post("checkpoints/pin", {"run": run, "name": name})
    click.echo(f"{name} stays until it is unpinned.")


@checkpoints.command()
@click.argument("name")
@click.option("--run", help="The run that it belongs to, instead of the active one.")
@click.pass_obj
def unpin(session: Session, name: str, run: str | None) -> None:
    """Let retention decide on checkpoint NAME again."""
    session.client().post("checkpoints/unpin", {"run": run, "name": name})
    click.echo(f"Retention decides on {name} again.")


@checkpoints.command()
@run_argument()
@click.option("--from", "url", required=True, help="The mirror: a directory or a URL of fsspec.")
@json_option
@click.pass_obj
def restore(session: Session, run: str, url: str, as_json: bool) -> None:
    """Bring RUN back from a mirror, so that it goes on here.

    Copies the run's record and its newest whole checkpoint, reads both back, and puts the run
    into the queue. Damaged files in the mirror are named and the checkpoint before is taken.
    """
    click.echo("Copying and reading back...", err=True)
    if "://" not in url:
        url = str(Path(url).expanduser().absolute())
    body = {"run": run, "url": url}
    checkpoint = session.client().post("checkpoints/restore", body, _DISK_TIMEOUT_SECONDS)
    if as_json:
        emit("checkpoint", checkpoint)
        return
    step, size = render.count(checkpoint["step"]), render.size(checkpoint["size_bytes"])
    click.echo(f"Restored {run} at step {step}: {checkpoint['name']}, {size}.")


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
    marks = "".join(
        letter if checkpoint[what] else "-"
        for letter, what in (("P", "pinned"), ("V", "verified"), ("M", "mirrored"))
    )
    return [
        checkpoint["run"],
        render.count(checkpoint["step"]),
        times.stamp(created, session.now()),
        render.size(checkpoint["size_bytes"]),
        marks,
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
