"""events, logs: what happened, and what the trainer said."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import click

from orchestrator.cli import render, times
from orchestrator.cli.client import ServerEvent, Unreachable
from orchestrator.cli.completing import run_argument
from orchestrator.cli.page import styled
from orchestrator.cli.session import Session, emit, json_option
from orchestrator.domain import SCHEMA

#: a daemon that is restarted comes back well within this
RECONNECT_SECONDS = 60.0

follow_option = click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
number_option = click.option(
    "-n",
    "number",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="The last N.",
)


@click.command()
@run_argument(required=False)
@follow_option
@number_option
@json_option
@click.pass_obj
def events(session: Session, run: str | None, follow: bool, number: int, as_json: bool) -> int:
    """Show the journal: everything that happened, and why."""
    entries = session.client().get("journal", limit=number, run=run)
    if as_json and not follow:
        emit("events", entries)
        return 0
    newest = str(entries[-1]["id"]) if entries else "0"
    more = _journal_stream(session, newest, run) if follow else iter(())
    return _show(_entry_text(entry, session, as_json) for entry in chain(entries, more))


@click.command()
@run_argument(required=False)
@follow_option
@number_option
@json_option
@click.pass_obj
def logs(session: Session, run: str | None, follow: bool, number: int, as_json: bool) -> int:
    """Show the output of RUN's trainer, or of the active run's."""
    if follow:
        return _show(_log_text(line, as_json) for line in _log_stream(session, run, number))
    answer = session.client().get("logs", run=run, lines=number)
    if as_json:
        emit("logs", answer)
        return 0
    return _show(_log_text(line, as_json) for line in answer["lines"])


def _show(texts: Iterator[str]) -> int:
    """Ctrl-C is the way to leave, so it is no failure."""
    with contextlib.suppress(KeyboardInterrupt):
        for text in texts:
            click.echo(text)
    return 0


def _log_stream(session: Session, run: str | None, number: int) -> Iterator[str]:
    wanted = number

    def connect() -> Iterator[ServerEvent]:
        return session.client().stream("logs/stream", run=run, lines=wanted)

    for event in _reconnecting(session, connect):
        if event.name == "line":
            wanted = 0
            yield json.loads(event.data)


def _journal_stream(session: Session, newest: str, run: str | None) -> Iterator[dict[str, Any]]:
    last = newest

    def connect() -> Iterator[ServerEvent]:
        return session.client().stream("stream", last_id=last)

    for event in _reconnecting(session, connect):
        if event.name != "journal":
            continue
        entry = json.loads(event.data)
        if int(entry["id"]) <= int(last):
            continue
        last = str(entry["id"])
        if run is None or entry["run"] == run:
            yield entry


def _reconnecting(
    session: Session, connect: Callable[[], Iterator[ServerEvent]]
) -> Iterator[ServerEvent]:
    """Events over as many connections as it takes; a restart of the daemon is no end.

    Raises:
        Unreachable: nobody answered for RECONNECT_SECONDS.
    """
    alive_at = session.clock.monotonic()
    told = False
    while True:
        try:
            for event in connect():
                alive_at, told = session.clock.monotonic(), False
                yield event
        except Unreachable as error:
            if session.clock.monotonic() - alive_at > RECONNECT_SECONDS:
                raise
            if not told:
                click.echo(f"homerun: {error.message}; trying again", err=True)
                told = True
        session.clock.sleep(1.0)


def _entry_text(entry: dict[str, Any], session: Session, as_json: bool) -> str:
    if as_json:
        return json.dumps({"schema": SCHEMA, **entry})
    stamp = times.stamp(times.from_json(entry["time"]), session.now())
    style = {"warning": "held", "error": "error"}.get(entry["severity"], "")
    return click.style(f"{stamp:<12}  ", dim=True) + styled(_message(entry), style)


def _message(entry: dict[str, Any]) -> str:
    prefix = "" if entry["severity"] == "info" else f"{entry['severity']}: "
    return render.clean(prefix + entry["message"])


def _log_text(line: str, as_json: bool) -> str:
    return json.dumps({"schema": SCHEMA, "line": line}) if as_json else render.clean_block(line)
