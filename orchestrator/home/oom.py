"""Whether the kernel killed somebody for want of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class OomCounter(Protocol):
    """Counts over the whole machine, since it booted."""

    def kills(self) -> int | None:
        """So many so far; None where the kernel does not tell."""


class KernelOom:
    """/proc/vmstat, where Linux counts them since 4.13, those of control groups among them."""

    def __init__(self, statistics: Path = Path("/proc/vmstat")) -> None:
        self._statistics = statistics

    def kills(self) -> int | None:
        try:
            lines = self._statistics.read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            return None
        found = [line.partition(" ")[2] for line in lines if line.startswith("oom_kill ")]
        return int(found[0]) if found and found[0].isdigit() else None


class FakeOom:
    """A kernel that kills when it is told to."""

    def __init__(self, count: int | None = 0) -> None:
        self.count = count

    def kills(self) -> int | None:
        return self.count
