"""A memory control group of the kernel, in which memory really runs out. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.story.house import CLOCK, wait_for

_MEGABYTE = 1 << 20
#: room that is left when the squeeze begins
_ROOM_BYTES = 8 * _MEGABYTE
_ROOM_TO_CHOOSE_BYTES = 768 * _MEGABYTE

#: Eats memory of the group a megabyte a line. It ends with its pipe. The kernel takes the largest,
#: as oom_score_adj weighs them, and this one never before it has taken another.
_EATER = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text("0")
eaten = []
print("here", flush=True)
for line in sys.stdin:
    eaten.append(b"x" * (1 << 20))
    print("more", flush=True)
"""


@dataclass(frozen=True)
class Names:
    """How the two versions of control groups call their files."""

    limit: str
    unlimited: str
    usage: str
    kills: str
    swap: tuple[str, str]


V1 = Names(
    "memory.limit_in_bytes",
    "-1",
    "memory.usage_in_bytes",
    "memory.oom_control",
    ("memory.swappiness", "0"),
)
V2 = Names("memory.max", "max", "memory.current", "memory.events", ("memory.swap.max", "0"))


class NoMemoryGroup(Exception):
    """There is none to be made here; the text says what is missing."""


@dataclass
class MemoryGroup:
    """One group. Whoever is started behind ``wrapper`` is in it, with all that he starts."""

    folder: Path
    names: Names
    _eater: subprocess.Popen[str] | None = field(default=None, init=False)

    @property
    def wrapper(self) -> tuple[str, ...]:
        """What a command line is put behind, to run in here under the same pid."""
        return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"))

    def kills(self) -> int:
        """How many the kernel has killed in here for want of memory."""
        lines = (self.folder / self.names.kills).read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def pids(self) -> set[int]:
        """Who is in here."""
        procs = (self.folder / "cgroup.procs").read_text(encoding="ascii")
        return {int(pid) for pid in procs.split()}

    def usage_bytes(self) -> int:
        """Charged to the group now."""
        return int((self.folder / self.names.usage).read_text(encoding="ascii"))

    def squeeze(self, first: int | None = None) -> None:
        """Allow hardly more than is used now, and use it up until the kernel kills somebody.

        ``first``: whom it should take, though others are larger. The weight that a process can be
        given grows with the limit, so that needs more room.
        """
        if first is not None:
            Path(f"/proc/{first}/oom_score_adj").write_text("1000", encoding="ascii")
        room = _ROOM_BYTES if first is None else _ROOM_TO_CHOOSE_BYTES
        before = self.kills()
        self._eater = eater = subprocess.Popen(
            [sys.executable, "-S", "-c", _EATER, str(self.folder / "cgroup.procs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert eater.stdin is not None
        assert eater.stdout is not None
        assert eater.stdout.readline() == "here\n", "the eater of memory did not start"
        self.limit(self.usage_bytes() + room)
        while self.kills() == before:
            eater.stdin.write("\n")
            eater.stdin.flush()
            # where the victim's memory is charged elsewhere, the eater is the next
            died = eater.stdout.readline() != "more\n"
            assert not died or self.kills() > before, "the eater of memory died"

    def limit(self, size_bytes: int) -> None:
        """Allow so much."""
        self._limit(str(size_bytes))

    def lift(self) -> None:
        """Memory is plenty again."""
        self._limit(self.names.unlimited)
        if self._eater is not None:
            with contextlib.suppress(BrokenPipeError):
                self._eater.communicate()
            self._eater = None

    def close(self) -> None:
        """Lift, and remove the group once everybody in it has ended."""
        self.lift()
        wait_for("the memory group to be empty", self._remove)

    def _limit(self, value: str) -> None:
        (self.folder / self.names.limit).write_text(value, encoding="ascii")

    def _remove(self) -> bool:
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return not self.folder.exists()


def make_memory_group() -> MemoryGroup:
    """A new group without a limit, and without swap. Raises NoMemoryGroup."""
    hierarchy, names = _hierarchy()
    folder = hierarchy / f"homerun-test-{os.getpid()}-{CLOCK.now():%H%M%S%f}"
    try:
        folder.mkdir()
        (folder / names.kills).read_text(encoding="ascii")
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise NoMemoryGroup(f"no memory control group can be made here: {error}") from None
    with contextlib.suppress(OSError):  # a kernel without swap
        (folder / names.swap[0]).write_text(names.swap[1], encoding="ascii")
    return MemoryGroup(folder, names)


def _hierarchy() -> tuple[Path, Names]:
    """Where the memory controller is mounted, in either version."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, where, kind, options = line.split()[:4]
        if kind == "cgroup" and "memory" in options.split(","):
            return Path(where), V1
        if kind == "cgroup2":
            with contextlib.suppress(OSError):
                given = (Path(where) / "cgroup.subtree_control").read_text(encoding="ascii")
                if "memory" in given.split():
                    return Path(where), V2
    raise NoMemoryGroup("no memory controller of control groups is mounted here")
