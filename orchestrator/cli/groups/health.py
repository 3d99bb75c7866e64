"""healthcheck: for Docker and other watchers."""

from __future__ import annotations

import click

from orchestrator.cli.session import Session


@click.command()
@click.option("--timeout", "timeout_seconds", default=5.0, show_default=True, help="Seconds.")
@click.pass_obj
def healthcheck(session: Session, timeout_seconds: float) -> None:
    """Exit 0 when the daemon is well, 69 otherwise."""
    session.client(timeout_seconds).healthy()
    click.echo("ok")
