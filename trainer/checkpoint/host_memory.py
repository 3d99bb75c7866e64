"""Memory of the host, or of the container or unit that this process may not outgrow.

/proc/meminfo tells of the whole machine, in a container too. What a memory control group allows is
told by its own files (https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html),
and by those of each group above it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Memory:
    """In bytes; 0 where nobody tells."""

    total: int
    #: what programs could still get without swapping
    available: int


@dataclass(frozen=True)
class Files:
    """Where the kernel tells it."""

    meminfo: Path = Path("/proc/meminfo")
    groups: Path = Path("/proc/self/cgroup")
    mounts: Path = Path("/proc/self/mounts")


@dataclass(frozen=True)
class _Names:
    """How a version of control groups calls its files, and its cache that can be given back."""

    limit: str
    usage: str
    cache: str


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("memory.max", "memory.current", "inactive_file")


def read(files: Files | None = None) -> Memory:
    """As it is now: the least of what the machine and each control group allow."""
    files = files or Files()
    memory = _of_machine(files.meminfo)
    for folder, names in _groups(files):
        limit = _number(folder / names.limit)
        # version 1 says "no limit" by a number near 2^63
        if limit is None or limit >= memory.total:
            continue
        # without the cache that is given back first, as the kubelet counts a working set
        used = (_number(folder / names.usage) or 0) - _cache(folder, names)
        memory = Memory(limit, min(memory.available, max(0, limit - used)))
    return memory


def _of_machine(meminfo: Path) -> Memory:
    found = {"MemTotal": 0, "MemAvailable": 0}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return Memory(found["MemTotal"], found["MemAvailable"])


def _groups(files: Files) -> Iterator[tuple[Path, _Names]]:
    """Our memory group in each version, and all above it, as far as they can be seen."""
    mounted = dict(_mounts(files.mounts))
    for line in _lines(files.groups):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            names = _V1
        elif number == "0" and not controllers:
            names = _V2
        else:
            continue
        if names in mounted:
            yield from ((mounted[names] / folder, names) for folder in _upwards(path))


def _upwards(path: str) -> Iterator[str]:
    # A container may see the path as it is outside, and its own group as the root of the mount.
    inside = PurePosixPath(path.lstrip("/"))
    for folder in (inside, *inside.parents):
        if ".." not in folder.parts:
            yield str(folder)


def _mounts(mounts: Path) -> Iterator[tuple[_Names, Path]]:
    for line in _lines(mounts):
        parts = line.split()
        if len(parts) < 4:
            continue
        _, where, kind, options = parts[:4]
        if kind == "cgroup2":
            yield _V2, Path(where)
        elif kind == "cgroup" and "memory" in options.split(","):
            yield _V1, Path(where)


def _cache(folder: Path, names: _Names) -> int:
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == names.cache and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
