"""What every command stands on: how it was called, the clock, the terminal, the daemon."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.client import Client
from orchestrator.cli.discovery import find
from orchestrator.cli.render import ASCII, UNICODE, Glyphs
from orchestrator.domain import SCHEMA
from orchestrator.home.clock import Clock, SystemClock

#: lines wider than this are hard to read, however wide the window
_WIDEST = 100


@dataclass(frozen=True)
class Session:
    """One call of ``homerun``."""

    url: str | None = None
    config: Path | None = None
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Clock = field(default_factory=SystemClock)

    def client(self, timeout_seconds: float = 10.0) -> Client:
        """The daemon, looked for anew on every call: it may have moved."""
        return Client(find(self.url, self.config, self.env), timeout_seconds)

    def with_config(self, config: Path | None) -> Session:
        """The session with the command's own --config, when it was given."""
        return dataclasses.replace(self, config=config) if config else self

    def now(self) -> datetime:
        """Aware, in UTC."""
        return self.clock.now()

    @property
    def width(self) -> int:
        """Columns to write on; 80 when nobody can say."""
        return max(40, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))

    @property
    def glyphs(self) -> Glyphs:
        """Signs that the output can carry."""
        return UNICODE if "utf" in (sys.stdout.encoding or "").lower() else ASCII


def emit(noun: str, value: Any, *, indent: int | None = 2) -> None:
    """Print ``{"schema": 1, noun: value}``."""
    click.echo(json.dumps({"schema": SCHEMA, noun: value}, indent=indent))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, times in UTC.")
config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file instead of the usual places.",
)
