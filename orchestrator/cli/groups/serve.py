"""serve, demo: the daemon in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.session import Session, config_option
from orchestrator.cli.terminal import foreground_of_our_own

if TYPE_CHECKING:
    from orchestrator.settings.config import Config

#: the built-in first run, also a model of a spec
FIRST_RUN = Path(__file__).parents[2] / "first_run.toml"


@click.command()
@config_option
@click.pass_obj
def serve(session: Session, config: Path | None) -> int:
    """Run the daemon in the foreground.

    SIGINT and SIGTERM take a checkpoint and stop it; the next start goes on from there. SIGHUP
    reads the configuration again.
    """
    from orchestrator.daemon import run_daemon
    from orchestrator.settings.config import load

    given = session.with_config(config)

    def read() -> Config:
        return load(given.config, given.env)

    return run_daemon(read(), read_config=read)


@click.command()
@config_option
@click.pass_obj
def demo(session: Session, config: Path | None) -> int:
    """Train a first small nanochat on text that every machine has.

    The daemon runs in the foreground with a live view and ends with the run. After Ctrl-C the
    same command goes on from the checkpoint.
    """
    from orchestrator.cli import live
    from orchestrator.daemon import run_daemon
    from orchestrator.settings.config import load

    given = session.with_config(config)
    settings = with_some_card(load(given.config, given.env))
    with foreground_of_our_own():
        return run_daemon(settings, first_run=first_run(), watch=live.watch, until_finished=True)


def with_some_card(config: Config) -> Config:
    """The same; on a machine without a card with a simulated one, which says so everywhere."""
    from orchestrator.home.gpu import installed_gpu

    if installed_gpu() is not None:
        return config
    return config.model_copy(
        update={"power": config.power.model_copy(update={"card": "simulated"})}
    )


def first_run() -> dict[str, Any]:
    """The built-in spec as the API takes it."""
    from trainer.contract.spec import load

    return load(FIRST_RUN).to_dict()
