"""Rings of a few kilobytes, and a writer that waits for a word before it takes anything.

Run as ``python -m tests.unit.loop.ringing HANDLE`` it is a trainer with both: it reads its job as a
line of JSON, lets its writer wait for a byte at HANDLE, and says the name of each event.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer import handover, peak
from trainer.checkpoint import ring
from trainer.contract import job as jobs
from trainer.contract.messages import Event, Phase

ROOT = Path(__file__).parents[3]
CHUNK_BYTES = 4096
RING_BYTES = 4 * CHUNK_BYTES
WAITING = "waiting for the writer to take the state"

Start = Callable[[Sequence[int]], subprocess.Popen[bytes]]
Patch = Callable[[object, str, object], None]


def small(patch: Patch) -> None:
    """Every ring is far smaller than the tiny run's state."""
    patch(ring, "CHUNK_BYTES", CHUNK_BYTES)
    patch(ring, "LEAST_BYTES", RING_BYTES)
    patch(ring, "MOST_BYTES", RING_BYTES)


def starter(first: str, inherited: Sequence[int] = ()) -> Start:
    """Starts a scribe that executes ``first`` before anything else."""

    def start(more: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        program = f"import os; {first}; import sys; from trainer.checkpoint import scribe"
        return subprocess.Popen(
            [sys.executable, "-c", f"{program}; sys.exit(scribe.main())"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[*inherited, *more],
        )

    return start


def waits_for(handle: int) -> Start:
    """Starts a scribe that takes nothing before there is a byte at ``handle``, or its end."""
    return starter(f"os.read({handle}, 1)", [handle])


def is_waiting(event: Event) -> bool:
    """Whether an update waits for the ring."""
    return isinstance(event, Phase) and event.detail == WAITING


class Speaker(Puppeteer):
    """Says aloud that an update waits."""

    def send(self, event: Event) -> None:
        super().send(event)
        print("waiting" if is_waiting(event) else type(event).__name__, flush=True)


def main() -> None:
    small(setattr)
    setattr(peak, "_CPU_SIZE", 128)  # noqa: B010 - as the tests' own process has it
    start = staticmethod(waits_for(int(sys.argv[1])))
    setattr(handover.Handover, "_start", start)  # noqa: B010 - as a test would patch it
    sys.exit(support.train(jobs.from_dict(json.loads(input())), Speaker()))


if __name__ == "__main__":
    main()
