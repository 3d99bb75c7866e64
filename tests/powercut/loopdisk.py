"""A real file system on a loop device whose power fails when we say so.

The kernel's shutdown ioctl (ext4 and xfs have the same one) stops a file system at once without
flushing its log: what only memory knew is gone, and the next mount replays the journal, as after
a real power cut. The writer is frozen first: a sync that is under way in that instant can report
success, which no mains failure could make a process believe.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

FILE_SYSTEMS = ("ext4", "xfs")
_GOING_DOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)
#: the smallest xfs; the image is sparse
_SIZE_BYTES = 320 << 20
_ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


class LoopDisk:
    """One mounted file system in a file of its own."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._image = directory / "image"
        self.root = directory / "mounted"
        self.root.mkdir()
        self._kind = kind
        make(self._image, kind, _SIZE_BYTES)
        self._mounted = False
        self.mount()

    def mount(self) -> None:
        """Mount it, as a start after a power cut would: the journal is replayed."""
        _run("mount", "-t", self._kind, "-o", "loop", str(self._image), str(self.root))
        self._mounted = True

    def unmount(self) -> None:
        """Take it down; fails while somebody still has a file open."""
        if self._mounted:
            _run("umount", str(self.root))
            self._mounted = False

    def sync(self) -> None:
        """Everything written so far is as old as a checkpoint of some minutes ago: durable."""
        _run("sync", "--file-system", str(self.root))

    def cut_power(self) -> None:
        """Nothing reaches this file system any more, whatever was under way."""
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(handle, _GOING_DOWN, _NO_LOG_FLUSH)
        finally:
            os.close(handle)

    def fail(self) -> None:
        """An ext4 finds an error in itself and turns read-only, as distributions mount it."""
        _run("mount", "-o", "remount,errors=remount-ro", str(self.root))
        number = self.root.stat().st_dev
        device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
        assert device.startswith("loop"), device
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test", encoding="ascii")

    def cut_under(self, pid: int) -> None:
        """Freeze our child ``pid``, cut the power, end the child, and switch on again."""
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        self.cut_power()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.unmount()
        self.mount()


@contextlib.contextmanager
def loop_disk(kind: str) -> Iterator[LoopDisk]:
    """A file system that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="homerun-powercut-") as directory:
        disk = LoopDisk(kind, Path(directory))
        try:
            yield disk
        finally:
            disk.unmount()


@cache
def unusable(kind: str) -> str:
    """Why the power of a real file system cannot be cut here, or an empty string."""
    if os.geteuid() != 0:
        return "only root mounts file systems"
    if shutil.which(f"mkfs.{kind}", path=_ENVIRONMENT["PATH"]) is None:
        return f"mkfs.{kind} is not installed"
    try:
        with loop_disk(kind) as disk:
            disk.cut_power()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return f"this machine mounts no {kind} on a loop device ({said.strip()})"
    return ""


def require(kind: str) -> None:
    """Skip loudly where no power can be cut: a privilege that not every machine gives us."""
    if problem := unusable(kind):
        pytest.skip(f"{problem}: NO REAL POWER CUT WAS MADE ON {kind.upper()}")


@contextlib.contextmanager
def mounted(image: Path, kind: str = "ext4") -> Iterator[Path]:
    """A directory with what is in ``image``; a mount that fails is a CalledProcessError."""
    with tempfile.TemporaryDirectory(prefix="homerun-powercut-") as directory:
        _run("mount", "-t", kind, "-o", "loop", str(image), directory)
        try:
            yield Path(directory)
        finally:
            _run("umount", directory)


def make(image: Path, kind: str, size_bytes: int) -> None:
    """An empty file system in a file."""
    with image.open("wb") as file:
        file.truncate(size_bytes)
    _run(f"mkfs.{kind}", "-q", str(image))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env=_ENVIRONMENT, capture_output=True, text=True)
