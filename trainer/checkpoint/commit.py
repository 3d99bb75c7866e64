"""The commit protocol: how bytes become a durable checkpoint. In one place, and free of torch.

1. ``tmp-STEP-ATTEMPT-HEX`` is made; its name is used once.
2. Each data file: created anew, space reserved, written in chunks that are hashed on the way,
   synced, closed. Nothing is read back: one pass over the data.
3. MANIFEST, with the checksum of every file and of itself: written, synced, closed.
4. The directory is synced: its names are durable.
5. The fence is checked.
6. The directory is renamed to ``gen-STEP-ATTEMPT-HEX``.
7. ``checkpoints/`` is synced. This is the commit: only now may anybody be told.

After any OSError the whole generation is abandoned. A sync that failed is never tried again on
the same file: Linux reports a lost write once and forgets it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import xxhash

from trainer.checkpoint.catalog import Entry, checkpoints_dir, discard, entry_of
from trainer.checkpoint.disk import REAL, Disk, remove_tree
from trainer.checkpoint.format import (
    MANIFEST,
    FileRecord,
    Manifest,
    Name,
    check_file_name,
    encode_manifest,
)
from trainer.checkpoint.lease import Fenced

#: room for the manifest and the file system's own records, on top of a tenth of the data
RESERVE_BYTES = 1 << 20


class SaveError(Exception):
    """A save was abandoned; older checkpoints are untouched.

    ``kind``: disk_full, io, fenced, removed (by a Removed), or damaged: the bytes to be saved are
    not what they were.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(message)


@dataclass(frozen=True)
class Stream:
    """A data file to be: its name, its exact size, and its bytes in pieces, read once."""

    name: str
    size_bytes: int
    chunks: Iterable[memoryview]
    #: what the bytes must prove to be, where somebody has seen them before; asked after the last
    expected: Callable[[], FileRecord] | None = None


class Guard(Protocol):
    """What stops a writer whose time is over: a Lease."""

    def check(self) -> None:
        """Raises Fenced."""


def commit(
    run_dir: Path,
    streams: Sequence[Stream],
    manifest: Manifest,
    *,
    guard: Guard,
    disk: Disk = REAL,
) -> Entry:
    """Write a checkpoint; when this returns, it survives a power cut.

    Args:
        run_dir: the run's directory; exists.
        streams: the data files.
        manifest: all about the checkpoint but ``files``, which is filled in here.
        guard: asked before the first byte and again right before the rename.

    Raises:
        SaveError: nothing was committed and everything written is removed again, as far as
            the disk lets us.
    """
    name = Name("tmp", manifest.step, manifest.attempt, secrets.token_hex(4))
    generation = checkpoints_dir(run_dir) / str(name.as_kind("gen"))
    temporary = checkpoints_dir(run_dir) / str(name)
    try:
        guard.check()
        _make_home(run_dir, disk)
        _demand_space(run_dir, sum(stream.size_bytes for stream in streams), disk)
        disk.mkdir(temporary)
        whole = _write_all(temporary, streams, manifest, disk)
        guard.check()
        disk.rename(temporary, generation)
        disk.fsync_dir(generation.parent)
    except BaseException as error:
        _abandon(temporary, generation, disk)
        if isinstance(error, Fenced):
            raise SaveError(error.kind, str(error)) from error
        if isinstance(error, OSError):
            raise _failed(error, manifest.step) from error
        raise
    return entry_of(generation, whole)


def _make_home(run_dir: Path, disk: Disk) -> None:
    with contextlib.suppress(FileExistsError):
        disk.mkdir(checkpoints_dir(run_dir))
    # Each time, not only after mkdir: a process may have died between its mkdir and its sync.
    disk.fsync_dir(run_dir)
    disk.fsync_dir(run_dir.parent)


def _demand_space(run_dir: Path, data_bytes: int, disk: Disk) -> None:
    needed = data_bytes + data_bytes // 10 + RESERVE_BYTES
    free = disk.free_bytes(run_dir)
    if free < needed:
        raise SaveError(
            "disk_full",
            f"not enough space in {run_dir} for a checkpoint: {needed} bytes are needed, "
            f"{free} bytes are free",
        )


def _write_all(
    directory: Path, streams: Sequence[Stream], manifest: Manifest, disk: Disk
) -> Manifest:
    files = {}
    for stream in streams:
        path = directory / check_file_name(stream.name)
        record = write_file(path, stream.size_bytes, stream.chunks, disk)
        if stream.expected and record != stream.expected():
            raise SaveError("damaged", f"{stream.name}: its checksum changed before it was saved")
        files[stream.name] = record
    whole = dataclasses.replace(manifest, files=files)
    text = encode_manifest(whole)
    write_file(directory / MANIFEST, len(text), [memoryview(text)], disk)
    disk.fsync_dir(directory)
    return whole


def write_file(
    path: Path, size_bytes: int, chunks: Iterable[memoryview], disk: Disk = REAL
) -> FileRecord:
    """Write a new file and make its bytes durable; its name is durable with its directory.

    Raises:
        OSError: the disk failed; the file is of no use.
        ValueError: the chunks do not add up to ``size_bytes``.
    """
    handle = disk.create(path)
    try:
        disk.allocate(handle, size_bytes)
        record = pour(chunks, lambda chunk: disk.write(handle, chunk))
        if record.size_bytes != size_bytes:
            raise ValueError(f"{path.name}: {record.size_bytes} bytes came, not {size_bytes}")
        disk.fsync(handle)
    except BaseException:
        # What went wrong first is what the caller must hear.
        with contextlib.suppress(OSError):
            disk.close(handle)
        raise
    disk.close(handle)
    return record


def replace_file(path: Path, data: bytes, disk: Disk = REAL) -> None:
    """Replace a small file in one instant: a crash leaves the old one or the new one, both whole.

    Raises:
        OSError: it could not be written; the old one stands, or perhaps the new one.
    """
    beside = path.with_name(f"{path.name}.new")
    # what an earlier one that was cut short has left
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(beside)
    write_file(beside, len(data), [memoryview(data)], disk)
    disk.rename(beside, path)
    disk.fsync_dir(path.parent)


def pour(chunks: Iterable[memoryview], write: Callable[[memoryview], None]) -> FileRecord:
    """Give each piece to ``write`` and hash it on the way; what all of them were."""
    hasher = xxhash.xxh3_128()
    size = 0
    for chunk in chunks:
        write(chunk)
        hasher.update(chunk)
        size += chunk.nbytes
    return FileRecord(size, hasher.hexdigest())


def _abandon(temporary: Path, generation: Path, disk: Disk) -> None:
    # A rename or the last sync that failed may have left either name. Best effort: ``sweep``
    # takes what stays under a name that nobody lists.
    with contextlib.suppress(OSError):
        remove_tree(disk, temporary)
    with contextlib.suppress(OSError):
        discard(generation, disk=disk)


def _failed(error: OSError, step: int) -> SaveError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "the disk is full" if full else f"the disk failed ({error.strerror or error})"
    where = f" at {error.filename}" if error.filename else ""
    return SaveError("disk_full" if full else "io", f"saving step {step}: {what}{where}")
