"""Disk: every operation on a checkpoint's files, so that tests can record and break each one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

#: bytes read or written in one operation; large enough that the calls cost nothing
CHUNK_BYTES = 16 << 20
#: a smaller write is left to the sync after it
_KICK_BYTES = 1 << 20


class Disk(Protocol):
    """What checkpoints ask of a file system. Every method raises OSError when it fails.

    File handles are plain integers. Nothing is durable before ``fsync`` (a file's bytes) and
    ``fsync_dir`` (a directory's names) have returned.
    """

    def mkdir(self, path: Path) -> None:
        """Make a directory; FileExistsError when there is one."""

    def create(self, path: Path) -> int:
        """Open a new file for writing; FileExistsError when there is one."""

    def allocate(self, handle: int, size_bytes: int) -> None:
        """Reserve space, so that a full disk shows now and not in the middle."""

    def write(self, handle: int, data: memoryview) -> None:
        """Append all of ``data``."""

    def fsync(self, handle: int) -> None:
        """Make the file's bytes durable. Never call it again after it failed."""

    def close(self, handle: int) -> None:
        """Give the handle back."""

    def rename(self, old: Path, new: Path) -> None:
        """Rename within a directory, atomically; an existing file ``new`` is replaced."""

    def unlink(self, path: Path) -> None:
        """Remove a file's name."""

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""

    def fsync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""

    def free_bytes(self, path: Path) -> int:
        """Bytes that an ordinary user may still write below ``path``."""

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted."""

    def is_dir(self, path: Path) -> bool:
        """Whether ``path`` is a directory and no link to one."""

    def size_bytes(self, path: Path) -> int:
        """The size of a plain file; OSError(EINVAL) for anything else."""

    def open(self, path: Path) -> int:
        """Open a plain file for reading."""

    def forget(self, handle: int) -> None:
        """Let the next reads come from the disk itself, not from the system's memory of it."""

    def read_into(self, handle: int, buffer: memoryview) -> int:
        """Read at most ``len(buffer)`` bytes; 0 at the end of the file."""


class RealDisk:
    """The machine's own file systems (Linux)."""

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def allocate(self, handle: int, size_bytes: int) -> None:
        if size_bytes == 0:
            return
        try:
            os.posix_fallocate(handle, 0, size_bytes)
        except OSError as error:
            # Some file systems cannot reserve; there a full disk shows while writing.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise

    def write(self, handle: int, data: memoryview) -> None:
        rest = data
        while rest:
            rest = rest[os.write(handle, rest) :]
        if len(data) >= _KICK_BYTES:
            # the disk begins now, not at the sync; and a checkpoint pushes nothing out of memory
            with contextlib.suppress(OSError):
                begin = os.lseek(handle, 0, os.SEEK_CUR) - len(data)
                os.posix_fadvise(handle, begin, len(data), os.POSIX_FADV_DONTNEED)

    def fsync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def rmdir(self, path: Path) -> None:
        path.rmdir()

    def fsync_dir(self, path: Path) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def free_bytes(self, path: Path) -> int:
        space = os.statvfs(path)
        return space.f_bavail * space.f_frsize

    def names(self, path: Path) -> list[str]:
        return sorted(entry.name for entry in path.iterdir())

    def is_dir(self, path: Path) -> bool:
        return path.is_dir() and not path.is_symlink()

    def size_bytes(self, path: Path) -> int:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return status.st_size

    def open(self, path: Path) -> int:
        # O_NONBLOCK: opening a pipe that somebody put there must not hang.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return handle

    def forget(self, handle: int) -> None:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)

    def read_into(self, handle: int, buffer: memoryview) -> int:
        return os.readv(handle, [buffer])


#: the default everywhere
REAL = RealDisk()


@contextlib.contextmanager
def reading(disk: Disk, path: Path) -> Iterator[int]:
    """A handle to read ``path``, closed at the end."""
    handle = disk.open(path)
    try:
        yield handle
    finally:
        disk.close(handle)


def fill(disk: Disk, handle: int, buffer: memoryview) -> int:
    """Read until ``buffer`` is full or the file ends; the number of bytes read."""
    done = 0
    while done < len(buffer):
        count = disk.read_into(handle, buffer[done:])
        if count == 0:
            break
        done += count
    return done


def read_whole(disk: Disk, path: Path, limit_bytes: int) -> bytes:
    """A small file's bytes; OSError(EFBIG) when it is larger than ``limit_bytes``."""
    size = disk.size_bytes(path)
    if size > limit_bytes:
        raise OSError(errno.EFBIG, f"larger than {limit_bytes} bytes", str(path))
    buffer = bytearray(size)
    with reading(disk, path) as handle:
        count = fill(disk, handle, memoryview(buffer))
    return bytes(buffer[:count])


def remove_tree(disk: Disk, path: Path) -> None:
    """Remove a directory and all in it. What somebody else removed meanwhile is no error."""
    with contextlib.suppress(FileNotFoundError):
        for name in disk.names(path):
            inner = path / name
            if disk.is_dir(inner):
                remove_tree(disk, inner)
            else:
                with contextlib.suppress(FileNotFoundError):
                    disk.unlink(inner)
        disk.rmdir(path)


# --- disks for tests ----------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One call on a Disk. ``path`` is the file's path at the time its handle was opened."""

    kind: str
    path: Path
    #: the new name of a rename
    target: Path | None = None
    #: what a write appends
    data: bytes = b""
    #: what an allocate reserves
    size_bytes: int = 0


#: kinds of Operation that change what is on the disk or what of it is durable
CHANGES = frozenset(
    ("mkdir", "create", "allocate", "write", "fsync", "rename", "unlink", "rmdir", "fsync_dir")
)


class ObservedDisk:
    """A disk that passes every call on to another one and shows each to ``_perform`` first."""

    def __init__(self, inner: Disk) -> None:
        self._inner = inner
        self._paths: dict[int, Path] = {}

    def _perform(self, operation: Operation, action: Callable[[], T]) -> T:
        return action()

    def mkdir(self, path: Path) -> None:
        self._perform(Operation("mkdir", path), lambda: self._inner.mkdir(path))

    def create(self, path: Path) -> int:
        handle = self._perform(Operation("create", path), lambda: self._inner.create(path))
        self._paths[handle] = path
        return handle

    def allocate(self, handle: int, size_bytes: int) -> None:
        operation = Operation("allocate", self._paths[handle], size_bytes=size_bytes)
        self._perform(operation, lambda: self._inner.allocate(handle, size_bytes))

    def write(self, handle: int, data: memoryview) -> None:
        operation = Operation("write", self._paths[handle], data=bytes(data))
        self._perform(operation, lambda: self._inner.write(handle, data))

    def fsync(self, handle: int) -> None:
        self._perform(Operation("fsync", self._paths[handle]), lambda: self._inner.fsync(handle))

    def close(self, handle: int) -> None:
        path = self._paths.pop(handle)
        self._perform(Operation("close", path), lambda: self._inner.close(handle))

    def rename(self, old: Path, new: Path) -> None:
        self._perform(Operation("rename", old, new), lambda: self._inner.rename(old, new))

    def unlink(self, path: Path) -> None:
        self._perform(Operation("unlink", path), lambda: self._inner.unlink(path))

    def rmdir(self, path: Path) -> None:
        self._perform(Operation("rmdir", path), lambda: self._inner.rmdir(path))

    def fsync_dir(self, path: Path) -> None:
        self._perform(Operation("fsync_dir", path), lambda: self._inner.fsync_dir(path))

    def free_bytes(self, path: Path) -> int:
        return self._perform(Operation("free", path), lambda: self._inner.free_bytes(path))

    def names(self, path: Path) -> list[str]:
        return self._perform(Operation("names", path), lambda: self._inner.names(path))

    def is_dir(self, path: Path) -> bool:
        return self._inner.is_dir(path)

    def size_bytes(self, path: Path) -> int:
        return self._perform(Operation("size", path), lambda: self._inner.size_bytes(path))

    def open(self, path: Path) -> int:
        handle = self._perform(Operation("open", path), lambda: self._inner.open(path))
        self._paths[handle] = path
        return handle

    def forget(self, handle: int) -> None:
        self._inner.forget(handle)

    def read_into(self, handle: int, buffer: memoryview) -> int:
        operation = Operation("read", self._paths[handle])
        return self._perform(operation, lambda: self._inner.read_into(handle, buffer))


class RecordingDisk(ObservedDisk):
    """Keeps a log of every change that succeeded, for tests that cut the power between them."""

    def __init__(self, inner: Disk = REAL) -> None:
        super().__init__(inner)
        self.log: list[Operation] = []

    def _perform(self, operation: Operation, action: Callable[[], T]) -> T:
        result = action()
        if operation.kind in CHANGES:
            self.log.append(operation)
        return result

    def mark(self, text: str) -> None:
        """Note in the log that something was acknowledged here."""
        self.log.append(Operation("mark", Path(text)))


class FaultyDisk(ObservedDisk):
    """Fails the operations that ``fault`` picks: it returns an errno, or 0 for "let it pass".

    A write that fails leaves its first half behind, as a full disk does. A close that fails
    has closed, as on Linux.
    """

    def __init__(self, fault: Callable[[Operation], int], inner: Disk = REAL) -> None:
        super().__init__(inner)
        self._fault = fault

    def write(self, handle: int, data: memoryview) -> None:
        operation = Operation("write", self._paths[handle], data=bytes(data))
        code = self._fault(operation)
        self._inner.write(handle, data[: len(data) // 2] if code else data)
        self._raise(code, operation)

    def _perform(self, operation: Operation, action: Callable[[], T]) -> T:
        code = self._fault(operation)
        if code and operation.kind == "close":
            action()
        self._raise(code, operation)
        return action()

    @staticmethod
    def _raise(code: int, operation: Operation) -> None:
        if code:
            raise OSError(code, os.strerror(code), str(operation.path))
