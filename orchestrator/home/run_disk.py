"""The disk below a run's checkpoints: how much room there is, and whether it takes anything."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Protocol

#: a name that no checkpoint has; what a crash left of it is replaced
_PROBE = ".can-be-written"
_PROBE_BYTES = 4096


class RunDisk(Protocol):
    """One look a call; it may wait for a sick disk."""

    def free_bytes(self, place: Path) -> int:
        """What this user may still write there. Raises OSError, EROFS on a read-only one."""

    def try_to_write(self, place: Path) -> None:
        """Write a little, make it durable, take it away again. Raises OSError; ENOSPC is none."""


class MountedDisk:
    """The file system that holds the directory."""

    def free_bytes(self, place: Path) -> int:
        space = os.statvfs(place)
        if space.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place))
        return space.f_bavail * space.f_frsize

    def try_to_write(self, place: Path) -> None:
        probe = place / _PROBE
        try:
            handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, bytes(_PROBE_BYTES))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


class FakeDisk:
    """A disk that is as full, and as sick, as it is told to be."""

    def __init__(self, free: int = 1 << 40) -> None:
        self.free = free
        #: raised by every question
        self.error: OSError | None = None

    def free_bytes(self, place: Path) -> int:
        if self.error is not None:
            raise self.error
        return self.free

    def try_to_write(self, place: Path) -> None:
        if self.error is not None:
            raise self.error
