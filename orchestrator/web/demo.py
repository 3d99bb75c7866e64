"""``python -m orchestrator.web.demo``: the page over a fake run, for those who work on it."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import click

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.clock import SystemClock
from orchestrator.web.app import build_app
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings


@click.command()
@click.option("--port", default=0, help="0 takes any free port.")
@click.option("--held", is_flag=True, help="Begin with a hold of the tariff.")
@click.option("--token", default="", help="Ask for this token.")
def main(port: int, held: bool, token: str) -> None:
    """Serve a fake run that makes a step a second, until Ctrl-C."""
    clock = SystemClock()
    backend = FakeBackend(clock, log=Path("/nonexistent/trainer.log"))
    if held:
        now = clock.now()
        until = now + timedelta(hours=3, minutes=12)
        detail = "0.41 EUR/kWh"
        backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", now, until, detail))
    with WebServer(host="127.0.0.1", port=port) as server:
        server.serve(build_app(backend, Settings(token=token)))
        click.echo(server.url)
        never = threading.Event()
        while not never.wait(1.0):
            backend.advance()


if __name__ == "__main__":
    main()
