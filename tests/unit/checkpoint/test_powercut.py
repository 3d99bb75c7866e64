"""A power cut after any operation, leaving any legal disk, loses nothing that was acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.checkpoint.plain import commit_plain
from tests.unit.checkpoint.powercut import cut_everywhere, without
from tests.unit.checkpoint.rig import save_step
from trainer.checkpoint.disk import Operation, RecordingDisk
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.retention import Policy, retain


def record_saves(run_dir: Path, steps: int, keep: int) -> list[Operation]:
    """Saves with the real writer, each followed by retention."""
    disk = RecordingDisk()
    run_dir.mkdir()
    with Lease.take(run_dir, 1, disk=disk) as lease:
        disk.mark("fence 1")
        for step in range(1, steps + 1):
            entry = save_step(run_dir, step, lease, disk=disk, chunk_bytes=24)
            disk.mark(f"saved {entry.name}")
            retain(run_dir, Policy(keep, 0, 0), disk=disk)
    with Lease.take(run_dir, 2, disk=disk):
        disk.mark("fence 2")
    return disk.log


def record_small_saves(run_dir: Path) -> list[Operation]:
    """Two tiny saves, for campaigns whose protocol is broken and whose states are many."""
    disk = RecordingDisk()
    run_dir.mkdir()
    for step in (1, 2):
        files = {"model.bin": bytes([step, 7, 9])}
        entry = commit_plain(run_dir, step, files=files, disk=disk)
        disk.mark(f"saved {entry.name}")
    return disk.log


def test_no_power_cut_loses_an_acknowledged_checkpoint(tmp_path: Path, run_dir: Path) -> None:
    log = record_saves(run_dir, steps=10, keep=2)
    states = 0
    for operation, broken in cut_everywhere(log, tmp_path, run_dir):
        assert not broken, f"cut after {operation.kind} {operation.path.name}: {broken}"
        states += 1
    assert states > 2000


def is_data(operation: Operation) -> bool:
    return operation.kind == "fsync" and operation.path.suffix == ".bin"


def is_manifest(operation: Operation) -> bool:
    return operation.kind == "fsync" and operation.path.name == "MANIFEST"


def is_temporary_dir(operation: Operation) -> bool:
    return operation.kind == "fsync_dir" and operation.path.name.startswith("tmp-")


def is_parent_dir(operation: Operation) -> bool:
    return operation.kind == "fsync_dir" and operation.path.name == "checkpoints"


def is_run_dir(operation: Operation) -> bool:
    return operation.kind == "fsync_dir" and operation.path.name == "run"


@pytest.mark.parametrize(
    ("forgotten", "expected"),
    [
        (is_data, "listed but damaged"),
        (is_manifest, "lost"),
        (is_temporary_dir, "lost"),
        (is_parent_dir, "lost"),
        (is_run_dir, "lost"),
    ],
)
def test_the_campaign_notices_when_a_sync_is_missing(
    tmp_path: Path, run_dir: Path, forgotten: Callable[[Operation], bool], expected: str
) -> None:
    log = without(record_small_saves(run_dir), forgotten)
    broken = [text for _, found in cut_everywhere(log, tmp_path, run_dir) for text in found]
    assert any(text.startswith(expected) for text in broken)


def test_the_small_campaign_is_clean_with_all_its_syncs(tmp_path: Path, run_dir: Path) -> None:
    log = record_small_saves(run_dir)
    assert not any(broken for _, broken in cut_everywhere(log, tmp_path, run_dir))


def test_the_campaign_notices_a_fence_that_is_not_synced(tmp_path: Path, run_dir: Path) -> None:
    disk = RecordingDisk()
    run_dir.mkdir()
    for attempt in (1, 2):
        Lease.take(run_dir, attempt, disk=disk).release()
        disk.mark(f"fence {attempt}")
    assert not any(broken for _, broken in cut_everywhere(disk.log, tmp_path, run_dir))
    log = without(disk.log, lambda operation: operation.kind == "fsync")
    assert any(broken for _, broken in cut_everywhere(log, tmp_path, run_dir))


def test_retention_without_its_sync_would_leave_half_deleted_ones(
    tmp_path: Path, run_dir: Path
) -> None:
    log = record_saves(run_dir, steps=3, keep=2)
    trashed = next(
        at for at, item in enumerate(log) if item.target and item.target.name.startswith("trash-")
    )
    assert log[trashed + 1].kind == "fsync_dir"
    log = log[: trashed + 1] + log[trashed + 2 :]
    broken = [text for _, found in cut_everywhere(log, tmp_path, run_dir) for text in found]
    assert any(text.startswith("damaged") for text in broken)
    assert not any(text.startswith("lost") for text in broken)
