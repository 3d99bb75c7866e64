"""Owner: whose checkpoints lie in a place, so that those of another run are never gone on from.

A checkpoint that was copied here by hand, or put into the wrong directory by a repair, has good
checksums. What tells it apart is the run's name and the digest of its spec, both in its manifest;
``run.json`` says whose place it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint.disk import Disk, read_whole
from trainer.checkpoint.format import MANIFEST_LIMIT_BYTES, Manifest

RECORD = "run.json"


@dataclass(frozen=True)
class Owner:
    """A run, as its record pins it."""

    name: str
    spec_digest: str

    def wrong(self, manifest: Manifest) -> str:
        """Why a checkpoint is none of this run's; empty when it is."""
        if manifest.run != self.name:
            return f"belongs to run {manifest.run!r}"
        if manifest.spec_digest != self.spec_digest:
            return f"belongs to another run {manifest.run!r}, with another spec"
        return ""


def read_owner(record: bytes) -> Owner | None:
    """The run of a ``run.json``; None when it does not say."""
    try:
        plain = json.loads(record)
        name, digest = plain["spec"]["name"], plain["spec_digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Owner(name, digest) if isinstance(name, str) and isinstance(digest, str) else None


def owner_of(run_dir: Path, disk: Disk) -> Owner | None:
    """The run in ``run_dir``; None when its record is not there or cannot be read."""
    try:
        return read_owner(read_whole(disk, run_dir / RECORD, MANIFEST_LIMIT_BYTES))
    except OSError:
        return None
