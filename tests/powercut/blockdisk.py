"""A disk that remembers every block that was written to it, and every flush.

A file of a FUSE file system of our own, in a process of its own; a loop device sits on it and a
real ext4 or xfs on that. So the log holds what a real file system asks of a real disk, and any
disk can be made of it that a power cut may leave: all writes before the last flush, and of those
after it any subset, torn at sectors of 512 bytes.

Spoken straight to /dev/fuse (linux/fuse.h, protocol 7.31): the few words that one file needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECTOR_BYTES = 512
#: the two files: the disk, and one to write marks into
DISK, MARKS = "disk", "marks"
_NODES = {DISK.encode(): 2, MARKS.encode(): 3}

_IN_HEADER = struct.Struct("<IIQQIIIHH")
_OUT_HEADER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_INIT_OUT = struct.Struct("<4I2H2I2H8I")
_RANGE_IN = struct.Struct("<QQIIQII")
_MAX_WRITE_BYTES = 1 << 17
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _OPENDIR, _RELEASEDIR = 18, 20, 25, 26, 27, 29
_INTERRUPT, _DESTROY, _BATCH_FORGET = 36, 38, 42
_BIG_WRITES = 1 << 5


class NoFuseError(Exception):
    """A file system of our own cannot be mounted here."""


@dataclass(frozen=True)
class Entry:
    """A write of ``data`` at ``offset``; a flush when both are empty; a mark when offset is -1."""

    offset: int
    data: bytes

    @property
    def is_flush(self) -> bool:
        return self.offset == 0 and not self.data

    @property
    def mark(self) -> str:
        return self.data.decode() if self.offset == -1 else ""


class Server:
    """Answers the kernel until the mount is gone; the log goes into a file."""

    def __init__(self, device: int, image: bytearray, log: Path) -> None:
        self._device = device
        self._image = image
        self._log = log.open("wb", buffering=0)

    def serve(self) -> None:
        """One request after the other: so the log is in the order of the disk."""
        while True:
            try:
                request = os.read(self._device, _MAX_WRITE_BYTES + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
            body = request[_IN_HEADER.size :]
            if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            code, answer = self._answer(opcode, node, body)
            head = _OUT_HEADER.pack(_OUT_HEADER.size + len(answer), -code, unique)
            with contextlib.suppress(FileNotFoundError):
                os.write(self._device, head + answer)

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        if opcode == _INIT:
            return 0, _INIT_OUT.pack(
                7, 31, 0, _BIG_WRITES, 1, 1, _MAX_WRITE_BYTES, 1, 0, 0, *[0] * 8
            )
        if opcode == _LOOKUP:
            found = _NODES.get(body.rstrip(b"\0"), 0)
            if not found:
                return errno.ENOENT, b""
            return 0, struct.pack("<4Q2I", found, 0, 3600, 3600, 0, 0) + self._attributes(found)
        if opcode in (_GETATTR, _SETATTR):
            return 0, struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
        if opcode in (_OPEN, _OPENDIR):
            return 0, struct.pack("<QII", 0, 0, 0)
        if opcode == _READ:
            _, offset, size, *_ = _RANGE_IN.unpack_from(body)
            return 0, bytes(self._image[offset : offset + size])
        if opcode == _WRITE:
            return self._write(node, body)
        if opcode == _FSYNC:
            self._note(Entry(0, b""))
            return 0, b""
        if opcode in (_FLUSH, _RELEASE, _RELEASEDIR, _DESTROY):
            return 0, b""
        return errno.ENOSYS, b""

    def _write(self, node: int, body: bytes) -> tuple[int, bytes]:
        _, offset, size, *_ = _RANGE_IN.unpack_from(body)
        data = body[_RANGE_IN.size : _RANGE_IN.size + size]
        if node == _NODES[MARKS.encode()]:
            self._note(Entry(-1, data.strip()))
        else:
            self._image[offset : offset + size] = data
            self._note(Entry(offset, data))
        return 0, struct.pack("<II", size, 0)

    def _note(self, entry: Entry) -> None:
        self._log.write(struct.pack("<qI", entry.offset, len(entry.data)) + entry.data)

    def _attributes(self, node: int) -> bytes:
        size = len(self._image) if node == _NODES[DISK.encode()] else 0
        mode = 0o040700 if node == 1 else 0o100600
        return _ATTRIBUTES.pack(node, size, size // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)


def read_log(path: Path) -> list[Entry]:
    """All that happened to the disk, in its order."""
    content = path.read_bytes()
    entries, at = [], 0
    while at < len(content):
        offset, size = struct.unpack_from("<qI", content, at)
        at += 12
        entries.append(Entry(offset, content[at : at + size]))
        at += size
    return entries


@contextlib.contextmanager
def remembering_disk(image: Path, directory: Path, log: Path) -> Iterator[Path]:
    """Mount a disk that begins as ``image``; yields the directory with its two files."""
    directory.mkdir()
    command = [sys.executable, "-m", "tests.powercut.blockdisk", *map(str, (image, directory, log))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            if server.stdout.readline() != b"mounted\n":
                raise NoFuseError("this machine mounts no FUSE file system")
            yield directory
        finally:
            ctypes.CDLL(None).umount2(os.fsencode(directory), 2)
            server.send_signal(signal.SIGKILL)


def disks_after_a_cut(
    begin: bytes, log: list[Entry], rng: random.Random, count: int
) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """So many disks after cuts at random moments, each with the marks made before."""
    for cut in sorted(rng.randrange(len(log) + 1) for _ in range(count)):
        past = log[:cut]
        last = max((at for at, entry in enumerate(past) if entry.is_flush), default=0)
        disk = bytearray(begin)
        for at, entry in enumerate(past):
            if entry.offset < 0 or entry.is_flush:
                continue
            if at < last:
                disk[entry.offset : entry.offset + len(entry.data)] = entry.data
            else:
                _perhaps(disk, entry, rng)
        yield tuple(entry.mark for entry in past if entry.mark), bytes(disk)


def _perhaps(disk: bytearray, entry: Entry, rng: random.Random) -> None:
    fate = rng.randrange(3)
    for start in range(0, len(entry.data), SECTOR_BYTES):
        if fate == 0 or (fate == 1 and rng.random() < 0.5):
            piece = entry.data[start : start + SECTOR_BYTES]
            disk[entry.offset + start : entry.offset + start + len(piece)] = piece


def _main(image: Path, directory: Path, log: Path) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    mounted = ctypes.CDLL(None, use_errno=True).mount(
        b"homerun", os.fsencode(directory), b"fuse", 0, options.encode()
    )
    if mounted != 0:
        sys.exit(f"fuse: {os.strerror(ctypes.get_errno())}")
    os.write(1, b"mounted\n")
    Server(device, bytearray(image.read_bytes()), log).serve()


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:4]))
