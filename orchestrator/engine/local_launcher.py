"""The trainer as a plain child of the engine process: no Ray, the reference for tests."""

from __future__ import annotations

import json
import subprocess
import sys

from orchestrator.engine import process, tether
from orchestrator.engine.launcher import Place, Ticket, Watcher
from orchestrator.engine.process import Identity
from trainer.contract.job import Job


class LocalLauncher:
    """Starts ``python -m <worker module>`` with the job as one JSON line on stdin."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def open(self, watcher: Watcher) -> dict[str, int]:
        """Nothing needs to be started."""
        return {}

    def run(self, job: Job, ticket: Ticket) -> str:
        """See ``Launcher.run``."""
        if ticket.cancelled:
            return "cancelled before it was started"
        child = self._spawn()
        identity = process.identify(child.pid)
        if identity is not None:
            ticket.spawned(identity)
        self._hand_over(child, job)
        return in_words(child.wait())

    def own_processes(self, trainer: Identity | None) -> set[Identity]:
        """None: whatever is there is the trainer's."""
        return set()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # stdout of the engine process is its line to the daemon, so the child gets stderr
        return subprocess.Popen(
            tether.tethered([sys.executable, "-m", self._place.worker_module]),
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno(),
            close_fds=True,
        )

    @staticmethod
    def _hand_over(child: subprocess.Popen[bytes], job: Job) -> None:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(job.to_dict()).encode() + b"\n")
            child.stdin.close()
        except BrokenPipeError:
            return  # it died at once; how, its exit code says


def in_words(code: int) -> str:
    """``subprocess`` return code in the words of ``process.in_words``."""
    if code < 0:
        return f"killed by {process.signal_name(-code)}"
    return f"exit code {code}"
