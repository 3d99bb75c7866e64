"""Ring: a state on its way to the writer process through a few chunks of shared memory.

For where not even one slot fits. The trainer fills chunk after chunk, and waits when all are full;
the writer takes one out, writes it at the disk's pace and takes the next. The memory cannot grow
and has no name in any file system: it is gone with the last of the two processes.

They talk over a socket. From the trainer comes a head, the manifest and the size of each file;
then the length of every chunk as it is filled, and behind the last one of a file its checksum. From
the writer comes one byte for every chunk that may be filled again. When one dies, the other finds
the socket closed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import select
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trainer.checkpoint.commit import Guard, SaveError
from trainer.checkpoint.format import (
    FileRecord,
    Manifest,
    ManifestError,
    decode_manifest,
    encode_manifest,
)

#: copied and written at once; small enough for the processor's cache
CHUNK_BYTES = 4 << 20
#: what evens out a disk that hesitates, and what a host of 16 GB does not miss
LEAST_BYTES = 64 << 20
MOST_BYTES = 256 << 20
#: the part of the memory that programs could still get
_SHARE = 16
#: with less than so many times the least, a ring would only push the host into swapping
_LEAST_TIMES = 4
_LENGTH = struct.Struct("<I")
_CHECKSUM_BYTES = 32
#: a socket takes so many bytes of chunks given back at once
_MANY = 1 << 12
#: a writer that waits for the trainer looks so often whether it still may
_LOOK_MILLISECONDS = 200


def size_for(state_bytes: int, available_bytes: int) -> int:
    """Bytes of the ring for such a state, in whole chunks; 0 where there is no room for one.

    Args:
        available_bytes: what programs could still get without swapping.
    """
    if available_bytes < _LEAST_TIMES * LEAST_BYTES:
        return 0
    wanted = min(MOST_BYTES, max(LEAST_BYTES, available_bytes // _SHARE))
    return min(wanted // CHUNK_BYTES, -(-state_bytes // CHUNK_BYTES)) * CHUNK_BYTES


@dataclass(frozen=True)
class Place:
    """Where a ring is: descriptors that the writer process inherits, and how it is divided."""

    memory: int
    channel: int
    chunks: int
    chunk_bytes: int

    def to_line(self) -> str:
        """As one line."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


class Inlet:
    """The trainer's end of a new ring. One thread fills it; ``abort`` may come from another."""

    def __init__(self, size_bytes: int) -> None:
        """Raises OSError: there is no such memory on this system."""
        self._chunk_bytes = CHUNK_BYTES
        self._chunks = max(1, size_bytes // self._chunk_bytes)
        self._memory = _sealed_memory(self._chunks * self._chunk_bytes)
        self._channel, self._others = socket.socketpair()
        #: chunks that may be filled, the one that is being filled, and bytes in it
        self._free = self._chunks
        self._current = 0
        self._filled = 0

    @property
    def place(self) -> Place:
        """What the writer process is to inherit and to be told."""
        return Place(self._memory, self._others.fileno(), self._chunks, self._chunk_bytes)

    def handed_over(self) -> None:
        """The writer process has its end: from now on its death shows."""
        self._others.close()

    def begin(self, sizes: Mapping[str, int], manifest: Manifest) -> None:
        """Say what is to come: bytes by file, in their order. Raises OSError."""
        head = {"sizes": dict(sizes), "manifest": encode_manifest(manifest).decode()}
        text = json.dumps(head).encode()
        self._channel.sendall(_LENGTH.pack(len(text)) + text)

    def put(self, data: memoryview) -> None:
        """Take bytes of the current file in; waits while all chunks are full.

        Raises:
            OSError: the writer is gone.
        """
        rest = data
        while rest:
            if self._filled == 0:
                self._await_free()
            begin = self._current * self._chunk_bytes + self._filled
            count = os.pwrite(self._memory, rest[: self._chunk_bytes - self._filled], begin)
            self._filled += count
            rest = rest[count:]
            if self._filled == self._chunk_bytes:
                self._pass_on()

    def end_file(self, record: FileRecord) -> None:
        """The current file is complete; ``record`` is what the writer must have found it to be."""
        if self._filled:
            self._pass_on()
        self._channel.sendall(record.xxh3_128.encode())

    def abort(self) -> None:
        """Nothing more is taken in: who waits in ``put`` gets an OSError, the writer abandons."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give up this end; a state that is complete is written still."""
        self._others.close()
        self._channel.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _await_free(self) -> None:
        if self._free == 0:
            freed = self._channel.recv(_MANY)
            if not freed:
                raise BrokenPipeError(errno.EPIPE, "the writer process takes nothing more")
            self._free = len(freed)
        self._free -= 1

    def _pass_on(self) -> None:
        self._channel.sendall(_LENGTH.pack(self._filled))
        self._current = (self._current + 1) % self._chunks
        self._filled = 0


class Outlet:
    """The writer's end of a ring, for one state."""

    def __init__(self, place: Place, guard: Guard) -> None:
        """``guard`` is asked at every chunk, and while none comes."""
        self._memory = place.memory
        self._channel = socket.socket(fileno=place.channel)
        self._chunks = place.chunks
        self._buffer = memoryview(bytearray(place.chunk_bytes))
        self._guard = guard
        self._current = 0

    def head(self) -> tuple[Manifest, dict[str, int]]:
        """What the state is, and the bytes of its files in their order.

        Raises:
            SaveError: the trainer is gone, or what it said makes no sense.
            Fenced: the guard says so.
        """
        text = self._receive(self._receive_length())
        try:
            plain = json.loads(text)
            manifest = decode_manifest(plain["manifest"].encode())
            return manifest, {str(name): int(size) for name, size in plain["sizes"].items()}
        except (ManifestError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(f"its head is not understood: {error}") from None

    def file(self, size_bytes: int, found: list[FileRecord]) -> Iterator[memoryview]:
        """The next file's bytes; each piece is good until the next one.

        Args:
            found: gets what the trainer has found the file to be, after its last piece.

        Raises:
            SaveError: the trainer is gone, or what it said makes no sense.
            Fenced: the guard says so.
        """
        left = size_bytes
        while left:
            self._guard.check()
            length = self._receive_length()
            if not 0 < length <= min(left, len(self._buffer)):
                raise _damaged(f"a chunk of {length} bytes, where {left} are to come")
            piece = self._buffer[:length]
            self._fetch(piece)
            self._give_back()
            yield piece
            left -= length
        checksum = self._receive(_CHECKSUM_BYTES).decode("ascii", "replace")
        found.append(FileRecord(size_bytes, checksum))

    def close(self) -> None:
        """The trainer, if it still waits, is told by that."""
        self._channel.close()
        os.close(self._memory)

    def _fetch(self, piece: memoryview) -> None:
        begin = self._current * len(self._buffer)
        if os.preadv(self._memory, [piece], begin) != len(piece):
            raise _damaged("the memory is smaller than it was said to be")

    def _give_back(self) -> None:
        self._current = (self._current + 1) % self._chunks
        # a trainer that has passed on all of its state need not be there any more
        with contextlib.suppress(OSError):
            self._channel.send(b"+")

    def _receive_length(self) -> int:
        (length,) = _LENGTH.unpack(self._receive(_LENGTH.size))
        return int(length)

    def _receive(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            self._await()
            try:
                more = self._channel.recv(count - len(found))
            except OSError:
                more = b""
            if not more:
                raise SaveError("io", "the trainer was gone before all of its state had come")
            found += more
        return found

    def _await(self) -> None:
        """Until there is something to be received, or never will be."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while not poll.poll(_LOOK_MILLISECONDS):
            self._guard.check()


def _sealed_memory(size_bytes: int) -> int:
    """Anonymous shared memory of exactly that size, for good."""
    handle = os.memfd_create("homerun-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(handle, size_bytes)
        seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(handle)
        raise
    return handle


def _damaged(what: str) -> SaveError:
    return SaveError("damaged", f"what came through the ring cannot be used: {what}")
