"""The trainer's log: run_dir/trainer.log, one file of bounded size and its predecessor."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from trainer.clock import Clock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

FILE = "trainer.log"
LIMIT_BYTES = 10_000_000
#: lines between two looks at the size
_LOOK_EVERY = 256


class Log:
    """Writes dated lines to standard output, which ``redirected`` has pointed at the file."""

    def __init__(self, path: Path, clock: Clock, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._lines = 0

    def line(self, text: str) -> None:
        """One line, dated in UTC."""
        when = self._clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        sys.stdout.write(f"{when} {text}\n")
        self._lines += 1
        if self._lines % _LOOK_EVERY == 0:
            self.rotate()

    def rotate(self) -> None:
        """Begin a new file when this one is too large; the one before is kept, no older ones.

        Where the disk does not let us, the old one goes on.
        """
        with contextlib.suppress(OSError):
            if self.path.stat().st_size > self._limit_bytes:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self.attach()

    def attach(self) -> None:
        """Point descriptors 1 and 2 at the file, for C++ and Python alike."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)


@contextmanager
def redirected(run_dir: Path, clock: Clock) -> Iterator[Log]:
    """Standard output and error of the whole process go to the run's log; restored afterwards."""
    run_dir.mkdir(parents=True, exist_ok=True)
    log = Log(run_dir / FILE, clock)
    kept = [os.dup(1), os.dup(2)]
    try:
        log.attach()
        log.rotate()
        # a Ray worker's own streams go elsewhere than to descriptors 1 and 2
        with redirect_stdout(_stream(1)), redirect_stderr(_stream(2)):
            yield log
    finally:
        for number, handle in enumerate(kept, start=1):
            os.dup2(handle, number)
            os.close(handle)


class _Forgiving(io.FileIO):
    """Drops what a full or failing disk does not take: a lost line stops no training."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def _stream(descriptor: int) -> TextIO:
    """Text to a descriptor that stays open; every line goes out at once."""
    file = io.BufferedWriter(_Forgiving(descriptor, "w", closefd=False))
    return io.TextIOWrapper(file, encoding="utf-8", errors="replace", line_buffering=True)
