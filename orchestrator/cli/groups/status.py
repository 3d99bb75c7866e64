"""status: the whole state on one screen."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.client import Unreachable
from orchestrator.cli.page import View, page
from orchestrator.cli.session import Session, json_option
from orchestrator.domain import SCHEMA
from orchestrator.errors import HomerunError, Invalid

#: what systemctl answers for a unit that does not run
NOT_RUNNING = 3


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Keep showing it until Ctrl-C.")
@json_option
@click.pass_obj
def status(session: Session, watch: bool, as_json: bool) -> int:
    """Show how the run goes, why, and until when.

    Exit code 3 says that no daemon is running.
    """
    if watch and as_json:
        raise Invalid("--watch and --json do not go together", "homerun events -f --json")
    if watch:
        return _watch(session)
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


def _watch(session: Session) -> int:
    from orchestrator.cli import live

    def snapshot() -> dict[str, Any]:
        answer = session.client().get("status")
        _understand(answer)
        return dict(answer)

    # Ctrl-C is the way to leave, so it is no failure.
    try:
        live.watch(snapshot, lambda: False, hint=live.LEAVE_HINT, clock=session.clock)
    except KeyboardInterrupt:
        click.echo()
    return 0


def _understand(snapshot: dict[str, Any]) -> None:
    if snapshot.get("schema") != SCHEMA:
        raise HomerunError(
            f"the daemon speaks schema {snapshot.get('schema')}, this command {SCHEMA}",
            "run the homerun command of the daemon's own installation",
        )
