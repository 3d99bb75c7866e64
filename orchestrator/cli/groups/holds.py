"""pause, resume, finish: the holds that a person sets and lifts."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli import page, times
from orchestrator.cli.completing import run_argument
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.domain import to_json
from orchestrator.errors import Held, Invalid
from orchestrator.headline import only_in_memory

#: effects under which the trainer goes on computing
_GOING = ("run", "cap")
#: how long a pause that gives the memory back waits to tell what became of it
_LEAVE_SECONDS = 10.0
_POLL_SECONDS = 0.2


@click.command()
@run_argument(required=False)
@click.option("--for", "span", metavar="2h", help="Go on by itself after so long: 90s, 1h30m, 1d.")
@click.option("--until", metavar="18:00", help="Go on by itself then; a local time or ISO 8601.")
@click.option("-m", "--message", default="", metavar="WHY", help="Why; shown wherever it matters.")
@click.option("--release", is_flag=True, help="Checkpoint and give the memory back as well.")
@json_option
@click.pass_obj
def pause(
    session: Session,
    run: str | None,
    span: str | None,
    until: str | None,
    message: str,
    release: bool,
    as_json: bool,
) -> None:
    """Stop computing within one micro-batch; keep the process.

    Without RUN everything on this machine is held, runs that come later included.
    """
    if span and until:
        raise Invalid("give --for or --until, not both", "homerun pause --help")
    body: dict[str, Any] = {"run": run, "detail": message, "release": release}
    if span:
        body["seconds"] = times.parse_for(span)
    if until:
        body["until"] = to_json(times.parse_until(until, session.now()))
    hold = session.client().post("pause", body)
    if as_json:
        emit("hold", hold)
        return
    click.echo(_told(hold, session))
    if release:
        _tell_of_memory(hold["run"], session)


@click.command()
@run_argument(required=False)
@json_option
@click.pass_obj
def resume(session: Session, run: str | None, as_json: bool) -> None:
    """End your pause, and what repeated crashes have stopped.

    Exit code 75 says that something else still holds the run; it is named.
    """
    answer = session.client().post("resume", {"run": run})
    holding = [hold for hold in answer["holds"] if hold["effect"] not in _GOING]
    if as_json:
        emit("holds", answer["holds"])
    elif not holding:
        click.echo("Going on.")
    if holding:
        what = "; ".join(page.hold_sentence(hold, session.now()) for hold in holding)
        raise Held(f"still held by {what}", "homerun status shows when it goes on")


@click.command()
@run_argument(required=False)
@click.option("-m", "--message", default="", metavar="WHY", help="Why; shown wherever it matters.")
@json_option
@click.pass_obj
def finish(session: Session, run: str | None, message: str, as_json: bool) -> None:
    """Stop at the next checkpoint that is due anyway."""
    hold = session.client().post("finish", {"run": run, "detail": message})
    if as_json:
        emit("hold", hold)
        return
    click.echo("Stopping at the next checkpoint; homerun resume takes that back.")


def _tell_of_memory(held: str | None, session: Session) -> None:
    """Wait a while for the trainer to leave, and say what it could not save."""
    deadline = session.clock.monotonic() + _LEAVE_SECONDS
    client = session.client()
    while (run := client.get("status")["run"]) is not None and run["trainer_pid"] is not None:
        if held not in (None, run["name"]):
            return
        if session.clock.monotonic() >= deadline:
            click.echo("It has not left yet; homerun status shows when it has.", err=True)
            return
        session.clock.sleep(_POLL_SECONDS)
    if run is not None and run["memory_step"] is not None:
        step = run["checkpoint"]["step"] if run["checkpoint"] else 0
        text = only_in_memory(step, run["memory_step"])
        click.echo(f"{text}. Make room on the disk, then homerun resume saves them.", err=True)


def _told(hold: dict[str, Any], session: Session) -> str:
    what = "Stopped, the memory is given back" if hold["effect"] == "release" else "Paused"
    if hold["run"]:
        what = f"{hold['run']}: {what[0].lower()}{what[1:]}"
    if not hold["until"]:
        return f"{what} until you say homerun resume."
    end = times.until(times.from_json(hold["until"]), session.now())
    return f"{what} until {end}; homerun resume ends it sooner."


@click.command()
@click.argument("name")
@click.option("--for", "span", metavar="2h", help="How long at most; 12 h unless given.")
@click.option("-m", "--message", default="", metavar="WHY", help="Why; shown wherever it matters.")
@json_option
@click.pass_obj
def hold(session: Session, name: str, span: str | None, message: str, as_json: bool) -> None:
    """Make room on the card for NAME: what the hooks of a program call.

    homerun unhold NAME ends it, and so does homerun resume. Feral GameMode calls both by itself:
    homerun service print --gamemode.
    """
    body: dict[str, Any] = {"name": name, "detail": message}
    if span:
        body["seconds"] = times.parse_for(span)
    held = session.client().post("hold", body)
    if as_json:
        emit("hold", held)
        return
    end = times.until(times.from_json(held["until"]), session.now())
    click.echo(f"Room for {name} until homerun unhold {name}, at most until {end}.")


@click.command()
@click.argument("name")
@json_option
@click.pass_obj
def unhold(session: Session, name: str, as_json: bool) -> None:
    """NAME has left the card. Without a hold of that name nothing happens."""
    answer = session.client().post("unhold", {"name": name})
    if as_json:
        emit("ended", answer["ended"])
        return
    click.echo(f"{name} holds nothing any more." if answer["ended"] else f"{name} held nothing.")
