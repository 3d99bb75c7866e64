"""What the engine process asks of a way to run trainers: as Ray actors, or as plain children."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.engine.process import Identity
from orchestrator.engine.pulse import PATIENCE, Asked, Patience
from trainer.contract.job import Job


class Watcher(Protocol):
    """Ends everything when a process fails without which the engine cannot go on."""

    def watch(self, name: str, part: Identity) -> None:
        """From now on the part must live."""

    def feel_pulse(self, part: Identity, asked: Asked) -> None:
        """From now on the part must answer; not yet while it comes up, see ``Patience``."""


class LaunchError(Exception):
    """The way to run trainers cannot be opened; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where an engine lives and what it runs."""

    state_dir: Path
    #: short, 0700, see ``process.runtime_dir``
    runtime_dir: Path
    #: the module that holds ``serve(job) -> int`` and can be run with ``python -m``
    worker_module: str = "trainer.worker"
    object_store_bytes: int = 80_000_000
    patience: Patience = PATIENCE

    @property
    def socket(self) -> Path:
        """Where the trainer connects."""
        return self.runtime_dir / "engine.sock"


class Ticket:
    """One start of a trainer: tells the host of its process, and the launcher of its end."""

    def __init__(self, spawned: Callable[[Identity], None]) -> None:
        #: to be called by the launcher as soon as the trainer's process exists
        self.spawned = spawned
        self._lock = threading.Lock()
        self._cancelled = False
        self._on_cancel: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Nothing must be started any more."""
        return self._cancelled

    def cancel(self) -> None:
        """Give the start up. The launcher's part happens in another thread: Ray may hang."""
        with self._lock:
            self._cancelled = True
            callback, self._on_cancel = self._on_cancel, None
        if callback is not None:
            threading.Thread(target=callback, name="cancel", daemon=True).start()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called at the cancellation, at once if that has been already."""
        with self._lock:
            if not self._cancelled:
                self._on_cancel = callback
                return
        callback()


class Launcher(Protocol):
    """Runs one trainer at a time."""

    def open(self, watcher: Watcher) -> dict[str, int]:
        """Get ready; may block for many seconds.

        Returns:
            The pids of the processes started, by what they are.

        Raises:
            LaunchError: it cannot be done.
        """

    def run(self, job: Job, ticket: Ticket) -> str:
        """Run a trainer to its end, or until its process is killed or the ticket cancelled.

        Returns:
            In words how it ended; its process is gone by then.

        Raises:
            LaunchError: nothing can be started any more; the engine is lost.
        """

    def own_processes(self, trainer: Identity | None) -> set[Identity]:
        """Processes of the launcher itself that are younger than ``open``; not to be killed."""
