"""What the stories of the store begin with."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from orchestrator.domain import Run
from orchestrator.store import Store
from trainer.contract.spec import RunSpec

START = datetime(2026, 12, 1, 18, 30, 15, 123456, tzinfo=UTC)


def later(seconds: float) -> datetime:
    """So many seconds after the start."""
    return START + timedelta(seconds=seconds)


def submit(store: Store, name: str, priority: int = 0, at: datetime = START) -> Run:
    """Queue a run in a transaction of its own."""
    with store.transaction() as tx:
        return tx.runs.add(RunSpec(name=name), priority, at)


def python(code: str, *arguments: str) -> list[str]:
    """The command line of another process that runs ``code``, warnings being errors."""
    return [sys.executable, "-W", "error", "-c", code, *arguments]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in another process to its end."""
    return subprocess.run(
        python(code, *arguments), capture_output=True, text=True, timeout=60, check=False
    )
