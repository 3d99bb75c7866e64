"""A run's directory by its name, for commands that need no daemon."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.discovery import read_settings
from orchestrator.cli.session import Session
from orchestrator.errors import NotFound
from orchestrator.paths import Paths
from trainer.contract import toml


def paths_of(session: Session) -> Paths:
    """Where the state lies, by the configuration that counts for this call."""
    return Paths(read_settings(session.config, session.env).state_dir)


def run_dir(paths: Paths, run: str) -> Path:
    """The directory of ``run``; raises NotFound with the nearest name there is."""
    known = sorted(item.name for item in paths.runs.glob("*") if item.is_dir())
    if run not in known:
        hint = toml.nearest(run, known) or (f"known are {', '.join(known)}" if known else "")
        raise NotFound(f"no run {run!r} in {paths.runs}", hint or "train one first: homerun demo")
    return paths.run(run)
