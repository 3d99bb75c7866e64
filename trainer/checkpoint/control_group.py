"""The memory control groups that this process is in: what they allow, use, and have killed.

Both versions are in use (https://docs.kernel.org/admin-guide/cgroup-v2.html and
cgroup-v1/memory.html). Everything may be missing, unreadable or rubbish: then it is None or 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Files:
    """Where the kernel says which groups those are."""

    groups: Path = Path("/proc/self/cgroup")
    mounts: Path = Path("/proc/self/mounts")


@dataclass(frozen=True)
class Names:
    """How a version calls its files, and its cache that can be given back."""

    limit: str
    usage: str
    cache: str
    kills: str


V1 = Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "memory.oom_control"
)
V2 = Names("memory.max", "memory.current", "inactive_file", "memory.events")


@dataclass(frozen=True)
class Group:
    """One of them; it may not be there."""

    folder: Path
    names: Names

    def limit_bytes(self) -> int | None:
        """What all in it may take; None: no limit. Version 1 says so by a number near 2^63."""
        text = "".join(_lines(self.folder / self.names.limit)).strip()
        return int(text) if text.isdigit() else None

    def used_bytes(self) -> int:
        """Without the cache that is given back first, as the kubelet counts a working set."""
        text = "".join(_lines(self.folder / self.names.usage)).strip()
        used = int(text) if text.isdigit() else 0
        return used - (_entry(self.folder / "memory.stat", self.names.cache) or 0)

    def oom_kills(self) -> int | None:
        """How many of its processes the kernel has killed for want of memory, here or anywhere."""
        return _entry(self.folder / self.names.kills, "oom_kill")


def ours(files: Files | None = None) -> Iterator[Group]:
    """The group of this process, and all above it, innermost first."""
    files = files or Files()
    mounted = dict(_mounts(files.mounts))
    for line in _lines(files.groups):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            names = V1
        elif number == "0" and not controllers:
            names = V2
        else:
            continue
        if names in mounted:
            yield from (Group(mounted[names] / folder, names) for folder in _upwards(path))


def _upwards(path: str) -> Iterator[str]:
    # A container may see the path as it is outside, and its own group as the root of the mount.
    inside = PurePosixPath(path.lstrip("/"))
    for folder in (inside, *inside.parents):
        if ".." not in folder.parts:
            yield str(folder)


def _mounts(mounts: Path) -> Iterator[tuple[Names, Path]]:
    for line in _lines(mounts):
        parts = line.split()
        if len(parts) < 4:
            continue
        _, where, kind, options = parts[:4]
        if kind == "cgroup2":
            yield V2, Path(where)
        elif kind == "cgroup" and "memory" in options.split(","):
            yield V1, Path(where)


def _entry(path: Path, wanted: str) -> int | None:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == wanted and value.isdigit():
            return int(value)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
