"""Memory of the host, or of the container or unit that this process may not outgrow.

/proc/meminfo tells of the whole machine, in a container too; control groups tell what is allowed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint import control_group

_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Memory:
    """In bytes; 0 where nobody tells."""

    total: int
    #: what programs could still get without swapping
    available: int


def read(meminfo: Path = _MEMINFO, groups: control_group.Files | None = None) -> Memory:
    """As it is now: the least of what the machine and each control group allow."""
    memory = _of_machine(meminfo)
    for group in control_group.ours(groups):
        limit = group.limit_bytes()
        if limit is not None and limit < memory.total:
            left = max(0, limit - group.used_bytes())
            memory = Memory(limit, min(memory.available, left))
    return memory


def _of_machine(meminfo: Path) -> Memory:
    found = {"MemTotal": 0, "MemAvailable": 0}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return Memory(found["MemTotal"], found["MemAvailable"])
