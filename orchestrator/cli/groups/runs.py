"""runs, submit, cancel: the queue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from orchestrator.cli import render, sizes, times
from orchestrator.cli.completing import run_argument
from orchestrator.cli.render import Column
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.errors import Misconfigured

if TYPE_CHECKING:
    from trainer.contract.spec import RunSpec

_COLUMNS = (
    Column("RUN"),
    Column("STATE"),
    Column("PRIORITY", right=True),
    Column("STEPS", right=True),
    Column("PARAMETERS", right=True),
    Column("BITS/BYTE", right=True),
    Column("CREATED"),
)


@click.command()
@json_option
@click.pass_obj
def runs(session: Session, as_json: bool) -> None:
    """List the runs: active, queued, ended."""
    found = session.client().get("runs")
    if as_json:
        emit("runs", found)
        return
    if not found:
        click.echo("No runs yet. Queue one: homerun submit my-run.toml", err=True)
        return
    lines = [_row(run, session) for run in found]
    click.echo("\n".join(render.table(_COLUMNS, lines, session.width, session.glyphs)))


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option(
    "--priority",
    type=int,
    default=0,
    show_default=True,
    help="Higher ones go first; equal ones in the order they came.",
)
@click.option(
    "--deadline", metavar="WHEN", help="Done by then, as cheaply as possible: 30d, 2027-01-31."
)
@json_option
@click.pass_obj
def submit(
    session: Session, spec: Path, priority: int, deadline: str | None, as_json: bool
) -> None:
    """Queue the run that the TOML file SPEC describes.

    The file is pinned: changing it later changes nothing.
    """
    from trainer.contract import toml
    from trainer.contract.spec import load

    try:
        wanted = load(spec)
    except toml.InvalidFileError as error:
        raise Misconfigured(str(error), "correct the file and submit it again") from None
    seconds = sizes.parse_deadline(deadline, session.now()) if deadline else None
    run = session.client().post("runs", {"spec": wanted.to_dict(), "priority": priority})
    if seconds is not None:
        session.client().post(f"runs/{quote(run['name'], safe='')}/goal", {"seconds": seconds})
    if warning := _too_little_data(wanted):
        click.echo(f"homerun: {warning}", err=True)
    if as_json:
        emit("run", run)
        return
    click.echo(f"{run['name']} is {run['state']}, priority {run['priority']}.")


@click.command()
@run_argument()
@json_option
@click.pass_obj
def cancel(session: Session, run: str, as_json: bool) -> None:
    """Stop RUN for good, or take it out of the queue; its checkpoints stay."""
    cancelled = session.client().post(f"runs/{quote(run, safe='')}/cancel", {})
    if as_json:
        emit("run", cancelled)
        return
    click.echo(f"{cancelled['name']} is {cancelled['state']}; its checkpoints stay.")


def _too_little_data(wanted: RunSpec) -> str:
    """What to say of a corpus that looks too small for its run; empty when it does not."""
    from orchestrator.planning.corpus_size import measure
    from trainer import sizing
    from trainer.contract.choices import DEFAULT_CORPUS

    if wanted.data.allow_repeats or wanted.data.corpus == DEFAULT_CORPUS:
        return ""
    tokens = sizing.horizon_steps(wanted) * wanted.train.batch_tokens
    corpus = measure(Path(wanted.data.corpus))
    if not corpus.tokens or tokens <= corpus.tokens:
        return ""
    return (
        f"the run wants {render.amount(tokens)} tokens, and the {corpus.files:,} files of "
        f"{wanted.data.corpus} give about {render.amount(corpus.tokens)}; about "
        f"{corpus.files_missing(tokens):,} more like them are missing.\n"
        "  The trainer counts exactly and then refuses to read a text twice, unless the run says "
        "data.allow_repeats = true."
    )


def _row(run: dict[str, Any], session: Session) -> list[str]:
    quality = run["bits_per_byte"]
    created = times.from_json(run["created"])
    return [
        run["name"],
        run["state"],
        str(run["priority"]),
        render.count(run["steps"]) if run["steps"] else "",
        render.amount(run["parameters"]) if run["parameters"] else "",
        f"{quality:.3f}" if quality is not None else "",
        times.moment(created, session.now(), named=False),
    ]
