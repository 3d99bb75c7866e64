"""fill: the live tensors of a step become a whole slot in memory; send: they go by a ring."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainer.checkpoint import safetensor, slots
from trainer.checkpoint.catalog import Entry, entry_of
from trainer.checkpoint.commit import pour
from trainer.checkpoint.disk import REAL
from trainer.checkpoint.format import MANIFEST, SUFFIX, FileRecord, Manifest, encode_manifest
from trainer.checkpoint.ring import Inlet

#: copied at once; small enough that the checksum still finds it in the processor's cache
CHUNK_BYTES = 4 << 20


def fill(
    slot: Path,
    files: Mapping[str, Mapping[str, Tensor]],
    manifest: Manifest,
    fetch: Callable[[Tensor], Tensor] = Tensor.cpu,
) -> Entry:
    """Copy tensors into ``slot``; when this returns the slot is whole.

    Killed on the way, it leaves a slot that is not. The memory that the slot has already is
    written over, so that none is asked for anew.

    Args:
        files: tensors by file name without suffix, then by tensor name; unchanged until the
            return.
        manifest: all about the state but ``files``, which is filled in here.
        fetch: brings a piece of a tensor to host memory.

    Raises:
        OSError: there is not enough memory, or somebody took the directory away.
    """
    slot.mkdir(exist_ok=True)
    slots.invalidate(slot)
    records = {
        name + SUFFIX: _fill_file(
            slot / (name + SUFFIX),
            safetensor.size_bytes(tensors),
            safetensor.chunks(tensors, CHUNK_BYTES, fetch),
        )
        for name, tensors in files.items()
    }
    whole = dataclasses.replace(manifest, files=records)
    _mark(slot, encode_manifest(whole))
    return entry_of(slot, whole)


def _fill_file(path: Path, size_bytes: int, chunks: Iterable[memoryview]) -> FileRecord:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        if os.fstat(handle).st_size != size_bytes:
            os.ftruncate(handle, size_bytes)
            REAL.allocate(handle, size_bytes)
        return pour(chunks, lambda chunk: REAL.write(handle, chunk))
    finally:
        os.close(handle)


def _mark(slot: Path, text: bytes) -> None:
    beside = slot / f"{MANIFEST}.new"
    beside.write_bytes(text)
    beside.replace(slot / MANIFEST)


def send(
    inlet: Inlet,
    files: Mapping[str, Mapping[str, Tensor]],
    manifest: Manifest,
    fetch: Callable[[Tensor], Tensor] = Tensor.cpu,
) -> None:
    """Pass tensors on to the writer; when this returns the ring has taken all of them.

    Args:
        files: tensors by file name without suffix, then by tensor name; unchanged until the
            return.
        manifest: all about the state but ``files``.
        fetch: brings a piece of a tensor to host memory.

    Raises:
        OSError: the writer is gone.
    """
    sizes = {name + SUFFIX: safetensor.size_bytes(tensors) for name, tensors in files.items()}
    inlet.begin(sizes, manifest)
    for tensors in files.values():
        inlet.end_file(pour(safetensor.chunks(tensors, CHUNK_BYTES, fetch), inlet.put))


class SideStream:
    """Brings tensors from a GPU to the host beside what the GPU computes.

    On a stream of its own, which begins after everything that was queued when it was made: that
    includes the update whose result is copied, and none of the work that comes after it.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's own
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._staging = torch.empty(CHUNK_BYTES, dtype=torch.uint8, pin_memory=True)

    def __call__(self, piece: Tensor) -> Tensor:
        """``piece`` in host memory; good until the next call."""
        if piece.device.type != "cuda":
            return piece
        with torch.cuda.stream(self._stream):
            raw = piece.contiguous().view(torch.uint8)
            there = self._staging[: raw.numel()]
            there.copy_(raw, non_blocking=True)
        self._stream.synchronize()
        return there.view(piece.dtype)


def fetch_of(device: torch.device) -> Callable[[Tensor], Tensor]:
    """How pieces come to the host now, without waiting for what the device computes next."""
    return SideStream(device) if device.type == "cuda" else Tensor.cpu
