"""What the shell offers for RUN when Tab is pressed: the daemon's runs, if it answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from orchestrator.cli.session import Session
from orchestrator.errors import HomerunError

F = TypeVar("F", bound=Callable[..., Any])

#: longer than this and a person thinks that the shell hangs
_PATIENCE_SECONDS = 0.3


def run_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that begin so, each with its state; none when nobody answers in time."""
    given: dict[str, Any] = ctx.find_root().params
    config = given.get("config")
    session = Session(given.get("url"), Path(config) if config else None)
    try:
        runs = session.client(_PATIENCE_SECONDS).get("runs")
        return [
            CompletionItem(run["name"], help=run["state"])
            for run in runs
            if run["name"].startswith(incomplete)
        ]
    except (HomerunError, KeyError, TypeError):
        return []


def run_argument(*, required: bool = True) -> Callable[[F], F]:
    """The argument RUN of a command."""
    return click.argument("run", required=required, shell_complete=run_names)
