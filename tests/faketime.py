"""A wall clock that jumps under processes that run: Debian's libfaketime, loaded before libc.

Only the wall time is replaced, in whoever is started with ``variables``. Monotonic time and the
machine's own clock stay as they are, as when somebody sets a clock.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.home.clock import SystemClock

_CLOCK = SystemClock()


def library() -> Path | None:
    """The variant for programs with threads; None where it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def require() -> None:
    """Skip where it is missing, but never in CI."""
    if library() is None and not os.environ.get("CI"):
        pytest.skip("libfaketime is not installed: NO CLOCK OF A REAL DAEMON JUMPED")


class WallClock:
    """What the clock on the wall shows to whoever has its ``variables``."""

    def __init__(self, place: Path, start: datetime) -> None:
        """``place``: a file of its own, from which the library reads how far off the time is."""
        self._place = place
        self._ahead = timedelta(0)
        _sweep()
        self.show(start)

    @property
    def variables(self) -> dict[str, str]:
        """The environment (README of libfaketime 0.9.10, section 4)."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._place),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # else the library waits on conditions by a clock that it has replaced
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def now(self) -> datetime:
        """What it shows."""
        return _CLOCK.now() + self._ahead

    def jump(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._ahead += timedelta(seconds=seconds)
        beside = self._place.with_suffix(".new")
        beside.write_text(f"{self._ahead.total_seconds():+.3f}\n", encoding="ascii")
        beside.replace(self._place)

    def show(self, moment: datetime) -> None:
        """Set it to ``moment``, from where it goes on."""
        self.jump((moment - self.now()).total_seconds())


def _sweep() -> None:
    """Take away what the library leaves in shared memory of a process that was killed."""
    for pattern in ("faketime_shm_*", "sem.faketime_sem_*"):
        for path in Path("/dev/shm").glob(pattern):
            if not Path(f"/proc/{path.name.rpartition('_')[2]}").exists():
                path.unlink(missing_ok=True)


#: noon of an ordinary winter day
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
#: what a board whose battery is empty shows a quarter of a minute after it was switched on
DEAD_CLOCK = datetime(1970, 1, 1, 0, 0, 15, tzinfo=UTC)
