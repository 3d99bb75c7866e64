"""What a real process did to files, in the order in which it did it, as strace saw it.

Nothing of ours takes part in the recording: SQLite's calls are seen as well as Python's, and a
sync that a library makes or forgets is in the list or not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,lseek"
)
_LONGEST_BYTES = 1 << 26
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"^(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")
#: what a traced process writes to its output to say that something was acknowledged
MARK = b"mark "


@dataclass(frozen=True)
class Call:
    """One successful change: create, write, truncate, sync, rename, unlink, mkdir, rmdir, mark.

    ``path`` is absolute; of a mark it is the text. ``offset`` is where a write begins or where
    a truncate ends the file.
    """

    kind: str
    path: Path
    offset: int = 0
    data: bytes = b""
    target: Path | None = None


def unusable() -> str:
    """Why nothing can be traced here, or an empty string."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt install strace)"
    tried = subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True)
    return "" if tried.returncode == 0 else "this machine lets nobody trace processes (ptrace)"


def require() -> None:
    """Skip loudly where nothing can be traced; fail under CI when only the package is missing."""
    problem = unusable()
    if problem and os.environ.get("CI") and shutil.which("strace") is None:
        pytest.fail(f"{problem}, and CI must not skip the power cuts of the store")
    if problem:
        pytest.skip(f"{problem}: THE POWER CUTS OF REAL PROCESSES DID NOT RUN")


def record(command: Sequence[str], below: Path) -> list[Call]:
    """Run ``command`` to its end; its changes below ``below``, and its marks."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "calls"
        options = ["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", str(_LONGEST_BYTES)]
        subprocess.run(
            ["strace", *options, "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", log, *command],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _Reader(below).read(log)


def without(calls: list[Call], forgotten: Callable[[Call], bool]) -> list[Call]:
    """The calls of a program that lacks those that ``forgotten`` picks."""
    kept = [call for call in calls if not forgotten(call)]
    assert len(kept) < len(calls), "the mutation removes nothing"
    return kept


class _Reader:
    def __init__(self, below: Path) -> None:
        self._below = below
        self._calls: list[Call] = []
        #: where the next plain write goes; one writer at a time is all that we trace
        self._position: dict[Path, int] = {}
        self._size: dict[Path, int] = {}

    def read(self, log: Path) -> list[Call]:
        begun: dict[str, str] = {}
        with log.open() as lines:
            for line in lines:
                if found := _UNFINISHED.match(line):
                    begun[found[1]] = found[2]
                elif found := _RESUMED.match(line):
                    self._line(f"{found[1]} {begun.pop(found[1])}{found[2]}")
                else:
                    self._line(line)
        return self._calls

    def _line(self, line: str) -> None:
        found = _LINE.match(line)
        if found is None or int(found[4]) < 0:
            return
        name, arguments, result = found[2], found[3], int(found[4])
        if name in ("write", "pwrite64", "writev", "pwritev", "pwritev2"):
            self._write(name, arguments, result)
        elif name == "lseek":
            self._position[_descriptor(arguments)] = result
        elif name in ("openat", "open", "creat"):
            self._open(name, arguments)
        elif name in ("ftruncate", "truncate", "fallocate"):
            self._resize(name, arguments)
        elif name in ("fsync", "fdatasync"):
            self._add(Call("sync", _descriptor(arguments)))
        else:
            self._rename_or_remove(name, arguments)

    def _write(self, name: str, arguments: str, count: int) -> None:
        path = _descriptor(arguments)
        data = b"".join(_bytes(text) for text in _TEXT.findall(arguments))[:count]
        if data.startswith(MARK):
            for word in data.decode().split("\n"):
                if word:
                    self._calls.append(Call("mark", Path(word.removeprefix(MARK.decode()))))
            return
        if name.startswith("p"):
            offset = int(re.split(r", ", arguments)[-2 if name == "pwritev2" else -1])
        else:
            offset = self._position.get(path, 0)
            self._position[path] = offset + count
        self._size[path] = max(self._size.get(path, 0), offset + count)
        self._add(Call("write", path, offset, data))

    def _open(self, name: str, arguments: str) -> None:
        path = _paths(arguments)[0]
        flags = arguments.rsplit('"', 1)[-1]
        new = path not in self._size
        if name == "creat" or "O_TRUNC" in flags:
            self._size[path] = 0
            if not new:
                self._add(Call("truncate", path, 0))
        if name == "creat" or "O_CREAT" in flags:
            if new:
                self._add(Call("create", path))
            self._size.setdefault(path, 0)
        self._position[path] = self._size.get(path, 0) if "O_APPEND" in flags else 0

    def _resize(self, name: str, arguments: str) -> None:
        path = _paths(arguments)[0] if name == "truncate" else _descriptor(arguments)
        numbers = [int(word) for word in re.findall(r", (\d+)", arguments)]
        size = sum(numbers[-2:]) if name == "fallocate" else numbers[-1]
        if name == "fallocate":
            size = max(size, self._size.get(path, 0))
        self._size[path] = size
        self._add(Call("truncate", path, size))

    def _rename_or_remove(self, name: str, arguments: str) -> None:
        paths = _paths(arguments)
        if name.startswith("rename"):
            self._size[paths[1]] = self._size.pop(paths[0], 0)
            self._add(Call("rename", paths[0], target=paths[1]))
        elif name.startswith("mkdir"):
            self._add(Call("mkdir", paths[0]))
        else:
            self._size.pop(paths[0], None)
            gone = "rmdir" if name == "rmdir" or "AT_REMOVEDIR" in arguments else "unlink"
            self._add(Call(gone, paths[0]))

    def _add(self, call: Call) -> None:
        if call.path.is_relative_to(self._below):
            self._calls.append(call)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _descriptor(arguments: str) -> Path:
    found = _DESCRIPTOR.match(arguments)
    return Path(os.fsdecode(_bytes(found[1]))) if found else Path("?")


def _paths(arguments: str) -> list[Path]:
    """The paths among the arguments; a relative one belongs to the descriptor before it."""
    found = []
    for match in re.finditer(r'(?:(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>, )?"([^"]*)"', arguments):
        directory, text = match[1] or "", match[2]
        found.append(Path(os.fsdecode(_bytes(directory))) / os.fsdecode(_bytes(text)))
    return found
