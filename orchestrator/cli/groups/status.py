"""status: the whole state on one screen."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from orchestrator.cli.client import Unreachable
from orchestrator.cli.page import View, page
from orchestrator.cli.session import Session, json_option
from orchestrator.domain import SCHEMA
from orchestrator.errors import HomerunError

#: what systemctl answers for a unit that does not run
NOT_RUNNING = 3


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Keep showing it until Ctrl-C.")
@json_option
@click.pass_obj
def status(session: Session, watch: bool, as_json: bool) -> int:
    """Show how the run goes, why, and until when.

    With --watch a terminal is redrawn in place, and a pipe gets a plain line now and then; with
    --json as well, a line of JSON for each new snapshot.

    Exit code 3 says that no daemon is running.
    """
    if watch:
        return _watch(session, as_json=as_json)
    try:
        snapshot = session.client().get("status")
    except Unreachable as error:
        error.exit_code = NOT_RUNNING
        raise
    if as_json:
        import json

        click.echo(json.dumps(snapshot, indent=2))
        return 0
    _understand(snapshot)
    view = View(session.now(), session.width, session.glyphs)
    click.echo("\n".join(page(snapshot, view)))
    return 0


def _watch(session: Session, *, as_json: bool) -> int:
    from orchestrator.cli import live

    def snapshot() -> dict[str, Any]:
        answer = session.client().get("status")
        _understand(answer)
        return dict(answer)

    # Ctrl-C is the way to leave, and a reader such as head ends when it has enough: no failures.
    try:
        if as_json:
            live.watch_json(snapshot, lambda: False, clock=session.clock)
        else:
            live.watch(snapshot, lambda: False, hint=live.LEAVE_HINT, clock=session.clock)
    except KeyboardInterrupt:
        if not as_json:
            click.echo()
    except BrokenPipeError:
        # the interpreter would complain about it once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _understand(snapshot: dict[str, Any]) -> None:
    if snapshot.get("schema") != SCHEMA:
        raise HomerunError(
            f"the daemon speaks schema {snapshot.get('schema')}, this command {SCHEMA}",
            "run the homerun command of the daemon's own installation",
        )
