"""Handover: states given to the scribe, the process that writes them to the disk."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence

from trainer.checkpoint import priority
from trainer.checkpoint.ring import Inlet
from trainer.checkpoint.scribe import Answer, Mandate, Order
from trainer.clock import Clock
from trainer.contract.job import Job

_MODULE = "trainer.checkpoint.scribe"
_READ_BYTES = 1 << 16
#: a scribe whose input has ended, and that was not given up before it had answered
_LEAVE_SECONDS = 20.0


class Handover:
    """One order at a time; the process is started with the first one."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self._mandate = Mandate(job.run_dir, job.attempt, job.guardians)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""

    def order(self, order: Order) -> None:
        """Have a slot written; it must stay as it is until ``answer`` has one.

        Raises:
            OSError: no process can be started.
        """
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = self._start()
            self._send(self._mandate.to_line())
        self._send(order.to_line())

    def stream(self, inlet: Inlet) -> None:
        """Have written what is about to come through the ring, by a process of its own.

        Raises:
            OSError: no process can be started.
        """
        self._end()
        place = inlet.place
        self._process = self._start((place.memory, place.channel))
        inlet.handed_over()
        self._send(self._mandate.to_line())
        self._send(place.to_line())

    def answer(self, wait_seconds: float = 0.0) -> Answer | None:
        """What became of the order, or None when nobody can say after ``wait_seconds``."""
        assert self._process is not None, "something was ordered"
        assert self._process.stdout is not None
        deadline = self._clock.monotonic() + wait_seconds
        handle = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            left = max(0.0, deadline - self._clock.monotonic())
            if not select.select([handle], [], [], left)[0]:
                return None
            heard = os.read(handle, _READ_BYTES)
            if not heard:
                return Answer(kind="io", message=f"the writer process ended: {self._end()}")
            self._heard += heard
        line, _, self._heard = self._heard.partition(b"\n")
        return Answer(**json.loads(line))

    def hurry(self) -> None:
        """Somebody waits for the answer now."""
        if self._process is not None:
            priority.hurry(self._process.pid)

    def give_up(self) -> None:
        """The process hangs: kill it. What it was at will never be committed."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def close(self) -> None:
        """Order nothing more; what was ordered is written still."""
        self._end()

    # --- details ----------------------------------------------------------------------------

    @staticmethod
    def _start(inherited: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # not of the terminal's group, nor of one that is killed with the trainer
            start_new_session=True,
            pass_fds=inherited,
        )

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # a process that is gone is found out by its silence
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()

    def _end(self) -> str:
        """Wait until the process is gone; how it ended."""
        ended, self._process, self._heard = self._process, None, b""
        if ended is None:
            return ""
        assert ended.stdout is not None
        assert ended.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            ended.stdin.close()
        try:
            code = ended.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            # it may finish by itself, and is fenced off when it must not
            return "it does not answer"
        finally:
            ended.stdout.close()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
