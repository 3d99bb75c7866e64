"""What the daemon says at its end."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

from orchestrator.assembly import Daemon
from orchestrator.domain import Run, RunState, to_json


def last_words(daemon: Daemon, name: str | None) -> list[str]:
    """What ``name`` came to when it is finished; then where things stand, after a Ctrl-C."""
    from orchestrator.cli.live import summary

    runs = daemon.commands.runs()
    if not runs:
        return ["homerun: stopped; there is no run."]
    run = next((item for item in runs if item.name == name), runs[0])
    if name is not None and run.state is RunState.FINISHED:
        return ["", summary(to_json(run), command=command_name())]
    return [f"homerun: stopped; {_standing(daemon, run)}"]


def command_name() -> str:
    """What to type for ``homerun`` in this shell: its path, unless the shell finds it anyway."""
    if shutil.which("homerun"):
        return "homerun"
    program = Path(sys.argv[0])
    with contextlib.suppress(ValueError):
        program = program.absolute().relative_to(Path.cwd())
    return str(program)


def _standing(daemon: Daemon, run: Run) -> str:
    if run.state is RunState.FINISHED:
        return f"{run.name} is finished."
    checkpoints = daemon.commands.checkpoints(run.name)
    if not checkpoints:
        return f"{run.name} has no checkpoint yet; it starts from the beginning next time."
    of = f" of {run.steps}" if run.steps else ""
    return (
        f"{run.name} stands at step {checkpoints[0].step}{of}, saved as {checkpoints[0].name}. "
        "The same command goes on from there."
    )
