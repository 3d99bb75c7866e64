"""load: a checkpoint becomes tensors again, every byte checked in the one pass that reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from trainer.checkpoint import safetensor
from trainer.checkpoint.catalog import (
    Entry,
    Verdict,
    checkpoints_dir,
    examine,
    generations,
    quarantine,
    wrong_size,
)
from trainer.checkpoint.disk import CHUNK_BYTES, REAL, Disk, fill, reading
from trainer.checkpoint.format import DAMAGE_ERRNOS, SUFFIX, FileRecord, Manifest, Name
from trainer.checkpoint.format import DamagedError as DamagedError


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint in memory."""

    entry: Entry
    #: tensors by file name without suffix, then by tensor name
    files: dict[str, dict[str, Tensor]]
    #: what the writer was given
    meta: dict[str, Any]


def load(
    entry: Entry,
    device: str | torch.device = "cpu",
    *,
    only: Collection[str] = (),
    disk: Disk = REAL,
) -> Loaded:
    """Read a checkpoint to ``device``: all of its files, or ``only`` those named.

    Raises:
        DamagedError: naming the file and what is wrong with it.
        OSError: it cannot be read, for a reason that says nothing about what is stored.
    """
    manifest = examine(entry.path, disk=disk).manifest
    files = {}
    for name, record in manifest.files.items():
        if only and name.removesuffix(SUFFIX) not in only:
            continue
        try:
            tensors = _read_file(entry.path / name, record, torch.device(device), disk)
        except _WrongBytes as error:
            raise DamagedError(entry.name, (f"{name}: {error}",)) from None
        except OSError as error:
            if error.errno not in DAMAGE_ERRNOS:
                raise
            problem = f"{name}: cannot be read: {error.strerror}"
            raise DamagedError(entry.name, (problem,)) from None
        files[name.removesuffix(SUFFIX)] = tensors
    return Loaded(entry, files, dict(manifest.meta))


def load_newest(
    run_dir: Path,
    on_damaged: Callable[[Verdict], None],
    device: str | torch.device = "cpu",
    *,
    judge: Callable[[Manifest], str] = lambda _: "",
    disk: Disk = REAL,
) -> Loaded | None:
    """The newest good checkpoint, or None when there is none.

    ``judge`` says what makes one useless whose checksums are right, or an empty string.

    Each damaged one met on the way is told to ``on_damaged`` and then set aside under
    ``damaged-…``; nothing is deleted. None can therefore also mean that every checkpoint was
    damaged; then ``on_damaged`` was called.

    Raises:
        OSError: a checkpoint cannot be read for a reason that says nothing about what is
            stored (permission, handles): falling back would hide a good one.
    """
    for name in generations(run_dir, disk=disk):
        path = checkpoints_dir(run_dir) / str(name)
        try:
            entry = examine(path, disk=disk)
            if useless := judge(entry.manifest):
                raise DamagedError(entry.name, (useless,))
            return load(entry, device, disk=disk)
        except DamagedError as error:
            _set_aside(path, name, error, on_damaged, disk)
    return None


def _set_aside(
    path: Path,
    name: Name,
    error: DamagedError,
    on_damaged: Callable[[Verdict], None],
    disk: Disk,
) -> None:
    on_damaged(Verdict(str(name), name.step, False, error.problems))
    try:
        quarantine(path, "; ".join(error.problems), disk=disk)
    except OSError as failure:
        # A disk that takes no writes must not stop us from reading an older checkpoint.
        problem = f"could not be set aside: {failure.strerror}"
        on_damaged(Verdict(str(name), name.step, False, (problem,)))


class _WrongBytes(Exception):
    """A file that is not what its manifest or its own header says."""


class _HashedFile:
    """Reads a file from front to end and hashes what it passes."""

    def __init__(self, disk: Disk, handle: int) -> None:
        self._disk = disk
        self._handle = handle
        self._hasher = xxhash.xxh3_128()
        self.position = 0

    def fill(self, buffer: memoryview) -> bool:
        """Whether the file had enough for all of ``buffer``."""
        count = fill(self._disk, self._handle, buffer)
        self._hasher.update(buffer[:count])
        self.position += count
        return count == len(buffer)

    def take(self, size_bytes: int) -> bytes:
        buffer = bytearray(size_bytes)
        whole = self.fill(memoryview(buffer))
        return bytes(buffer) if whole else b""

    def wrong(self, record: FileRecord) -> str:
        """What is wrong with the file, now that all of it has passed; or an empty string."""
        if problem := wrong_size(self.position, record):
            return problem
        same = self._hasher.hexdigest() == record.xxh3_128
        return "" if same else "its checksum does not match"


def _read_file(
    path: Path, record: FileRecord, device: torch.device, disk: Disk
) -> dict[str, Tensor]:
    with reading(disk, path) as handle:
        file = _HashedFile(disk, handle)
        try:
            spans = _read_header(file, record.size_bytes)
        except safetensor.HeaderError as error:
            raise _WrongBytes(str(error)) from None
        tensors = {span.name: _read_tensor(file, span, device) for span in spans}
    if problem := file.wrong(record):
        raise _WrongBytes(problem)
    return tensors


def _read_header(file: _HashedFile, file_bytes: int) -> list[safetensor.Span]:
    length = safetensor.header_length(file.take(8), file_bytes)
    return safetensor.parse_header(file.take(length), file_bytes - 8 - length)


def _read_tensor(file: _HashedFile, span: safetensor.Span, device: torch.device) -> Tensor:
    tensor = safetensor.empty(span)
    rest = safetensor.byte_view(tensor)
    while rest and file.fill(rest[:CHUNK_BYTES]):
        rest = rest[CHUNK_BYTES:]
    return tensor.to(device)
