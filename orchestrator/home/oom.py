"""Whether the kernel killed somebody for want of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from trainer.checkpoint import control_group


class OomCounter(Protocol):
    """Counts upwards from any number."""

    def kills(self) -> int | None:
        """So many so far; None where the kernel does not tell."""


class KernelOom:
    """What the control group that we and all our children are in has lost.

    Where it does not tell, all of the machine: /proc/vmstat, where Linux counts since 4.13. Then a
    browser that is killed in the same minute takes the blame for a trainer that died otherwise.
    """

    def __init__(
        self, statistics: Path = Path("/proc/vmstat"), groups: control_group.Files | None = None
    ) -> None:
        self._statistics = statistics
        # once and for all: the two count from different numbers
        self._group = next(
            (group for group in control_group.ours(groups) if group.oom_kills() is not None), None
        )

    def kills(self) -> int | None:
        return self._of_machine() if self._group is None else self._group.oom_kills()

    def _of_machine(self) -> int | None:
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
