"""save: the tensors of a step become a committed checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainer.checkpoint import safetensor
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.commit import SaveError as SaveError
from trainer.checkpoint.commit import Stream, commit
from trainer.checkpoint.disk import CHUNK_BYTES, REAL, Disk
from trainer.checkpoint.format import SUFFIX, Manifest, encode_manifest
from trainer.checkpoint.lease import Lease
from trainer.clock import Clock


def save(
    run_dir: Path,
    files: Mapping[str, Mapping[str, Tensor]],
    meta: dict[str, Any],
    *,
    run: str,
    step: int,
    reason: str,
    lease: Lease,
    spec_digest: str,
    parent: str | None,
    clock: Clock,
    disk: Disk = REAL,
    chunk_bytes: int = CHUNK_BYTES,
) -> Entry:
    """Write a checkpoint; when this returns, it survives a power cut.

    Args:
        run_dir: the run's own directory; exists.
        files: tensors by file name without suffix, then by tensor name; unchanged until the
            return.
        meta: the loop's own state as plain JSON types (table keys become texts).
        step: finished optimizer steps.
        parent: the checkpoint that this attempt resumed from.
        chunk_bytes: the most that is written, or copied from a device, at once.

    Raises:
        SaveError: nothing was committed; older checkpoints are untouched.
        ValueError: a tensor or a name that the format has no place for.
        TypeError: ``meta`` holds something that JSON does not know.
    """
    manifest = Manifest(
        run=run,
        step=step,
        attempt=lease.token,
        created=clock.now(),
        reason=reason,
        parent=parent or None,
        spec_digest=spec_digest,
        meta=meta,
    )
    # A mistake in ``meta`` must show before gigabytes are written, not after.
    encode_manifest(manifest)
    streams = [
        Stream(
            name + SUFFIX, safetensor.size_bytes(tensors), safetensor.chunks(tensors, chunk_bytes)
        )
        for name, tensors in files.items()
    ]
    return commit(run_dir, streams, manifest, guard=lease, disk=disk)
