"""A sick or full disk: the save is abandoned, the older checkpoint stays, nothing is retried."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.unit.checkpoint.plain import OPEN, ROOT, commit_plain, manifest
from tests.unit.checkpoint.rig import same, save_step, state
from trainer.checkpoint import catalog
from trainer.checkpoint.commit import Stream, commit
from trainer.checkpoint.disk import (
    CHANGES,
    REAL,
    FaultyDisk,
    ObservedDisk,
    Operation,
    RealDisk,
    read_whole,
)
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.reader import load_newest
from trainer.checkpoint.writer import SaveError

CHUNK_BYTES = 16


class Nth:
    """Fails the n-th operation of some kinds, and keeps what it saw. -1 fails none."""

    def __init__(self, kinds: set[str], number: int, code: int, forever: bool = False) -> None:
        self._kinds = kinds
        self._number = number
        self._code = code
        self._forever = forever
        self.seen: list[Operation] = []
        self.failed: Operation | None = None
        self._matches = 0

    def __call__(self, operation: Operation) -> int:
        self.seen.append(operation)
        if self.failed and self._forever and operation.kind in CHANGES:
            return self._code
        if operation.kind not in self._kinds:
            return 0
        self._matches += 1
        if self._matches - 1 != self._number:
            return 0
        self.failed = operation
        return self._code

    @property
    def matches(self) -> int:
        return self._matches


def count(run_dir: Path, lease: Lease, kinds: set[str]) -> int:
    """How many such operations a save takes, found by doing one."""
    fault = Nth(kinds, -1, 0)
    entry = save_step(run_dir, 50, lease, disk=FaultyDisk(fault), chunk_bytes=CHUNK_BYTES)
    catalog.discard(entry.path)
    return fault.matches


def fail_each(run_dir: Path, lease: Lease, kinds: set[str], code: int) -> int:
    """A save for each operation of these kinds, failing there. Returns how many there were."""
    save_step(run_dir, 1, lease)
    total = count(run_dir, lease, kinds)
    for number in range(total):
        fault = Nth(kinds, number, code)
        with pytest.raises(SaveError) as caught:
            save_step(run_dir, 2, lease, disk=FaultyDisk(fault), chunk_bytes=CHUNK_BYTES)
        assert caught.value.kind == ("disk_full" if code == errno.ENOSPC else "io")
        assert_only_the_old_one(run_dir)
        assert_no_sync_was_retried(fault)
    return total


def assert_only_the_old_one(run_dir: Path) -> None:
    assert [path.name[:12] for path in (run_dir / "checkpoints").iterdir()] == ["gen-00000001"]
    loaded = load_newest(run_dir, lambda verdict: pytest.fail(f"{verdict}"))
    assert loaded is not None
    assert same(loaded.files, state(1))


def assert_no_sync_was_retried(fault: Nth) -> None:
    if fault.failed and fault.failed.kind == "fsync":
        after = fault.seen[fault.seen.index(fault.failed) + 1 :]
        assert not [item for item in after if item.kind == "fsync"]


def test_a_disk_that_fills_up_at_any_write_keeps_the_old_checkpoint(
    run_dir: Path, lease: Lease
) -> None:
    assert fail_each(run_dir, lease, {"write"}, errno.ENOSPC) > 20


def test_a_disk_that_has_no_room_to_reserve_is_full(run_dir: Path, lease: Lease) -> None:
    assert fail_each(run_dir, lease, {"allocate"}, errno.ENOSPC) == 3


@pytest.mark.parametrize(("kind", "expected"), [("fsync", 3), ("fsync_dir", 4)])
def test_a_sync_that_fails_abandons_the_generation_and_is_never_retried(
    run_dir: Path, lease: Lease, kind: str, expected: int
) -> None:
    assert fail_each(run_dir, lease, {kind}, errno.EIO) == expected


@pytest.mark.parametrize("kind", ["mkdir", "create", "write", "close", "rename", "free"])
def test_an_io_error_anywhere_keeps_the_old_checkpoint(
    run_dir: Path, lease: Lease, kind: str
) -> None:
    assert fail_each(run_dir, lease, {kind}, errno.EIO) > 0


def test_a_quota_that_is_used_up_counts_as_a_full_disk(run_dir: Path, lease: Lease) -> None:
    fault = Nth({"write"}, 2, errno.EDQUOT)
    with pytest.raises(SaveError, match=r"step 7: the disk is full at .*model\.safetensors"):
        save_step(run_dir, 7, lease, disk=FaultyDisk(fault), chunk_bytes=CHUNK_BYTES)


def test_a_disk_that_dies_for_good_leaves_only_what_a_sweep_takes(
    run_dir: Path, lease: Lease
) -> None:
    save_step(run_dir, 1, lease)
    total = count(run_dir, lease, set(CHANGES))
    for number in range(total):
        fault = Nth(set(CHANGES), number, errno.EIO, forever=True)
        with pytest.raises(SaveError):
            save_step(run_dir, 2, lease, disk=FaultyDisk(fault), chunk_bytes=CHUNK_BYTES)
        catalog.raise_fence(run_dir, 2)
        catalog.sweep(run_dir)
        assert catalog.damaged(run_dir) == []
        # Only a dead disk at the very last sync can leave a generation that nobody was told of.
        steps = [entry.step for entry in catalog.list_checkpoints(run_dir)]
        assert steps == ([2, 1] if number == total - 1 else [1])
        (run_dir / "fence").unlink()


def test_training_can_save_again_once_the_disk_is_well(run_dir: Path, lease: Lease) -> None:
    with pytest.raises(SaveError):
        save_step(run_dir, 1, lease, disk=FaultyDisk(Nth({"fsync"}, 0, errno.EIO)))
    save_step(run_dir, 1, lease)
    assert_only_the_old_one(run_dir)


def test_a_mistake_of_ours_is_not_called_a_disk_error_but_leaves_nothing_either(
    run_dir: Path, lease: Lease
) -> None:
    class Interrupting(ObservedDisk):
        def _perform(self, operation: Operation, action: Callable[[], object]) -> object:
            if operation.kind == "fsync":
                raise KeyboardInterrupt
            return action()

    save_step(run_dir, 1, lease)
    with pytest.raises(KeyboardInterrupt):
        save_step(run_dir, 2, lease, disk=Interrupting(REAL))
    assert_only_the_old_one(run_dir)


def test_tensors_are_written_in_chunks_and_each_byte_once(run_dir: Path, lease: Lease) -> None:
    fault = Nth(set(), -1, 0)
    files = {"model": {"w": torch.arange(1000, dtype=torch.int16)}}
    disk = FaultyDisk(fault)
    entry = save_step(run_dir, 1, lease, files=files, disk=disk, chunk_bytes=64)
    writes = [item for item in fault.seen if item.kind == "write"]
    data = [item.data for item in writes if item.path.suffix == ".safetensors"]
    assert b"".join(data) == (entry.path / "model.safetensors").read_bytes()
    assert {len(piece) for piece in data[1:-1]} == {64}
    assert not [item for item in fault.seen if item.kind in ("open", "read")]


class FullDevice(RealDisk):
    """Data files are /dev/full: the kernel itself says that there is no space."""

    def create(self, path: Path) -> int:
        if path.name == "optimizer.safetensors":
            return os.open("/dev/full", os.O_WRONLY)
        return super().create(path)

    def allocate(self, handle: int, size_bytes: int) -> None:
        pass


def test_the_kernels_own_no_space_is_understood(run_dir: Path, lease: Lease) -> None:
    save_step(run_dir, 1, lease)
    with pytest.raises(SaveError, match="the disk is full") as caught:
        save_step(run_dir, 2, lease, disk=FullDevice())
    assert caught.value.kind == "disk_full"
    assert_only_the_old_one(run_dir)


def test_a_real_small_disk_that_fills_up_keeps_what_was_saved(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=2m none {tmp_path}"
    unshare = shutil.which("unshare")
    if (
        not unshare
        or subprocess.run(
            [unshare, "-rm", "sh", "-c", mount], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small tmpfs in a namespace of our own is not permitted here")
    child = f"{sys.executable} -m tests.unit.checkpoint.plain fill {tmp_path}/run"
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", f"{mount} && exec {child}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Step n takes n times 64 KiB, so that a few fit into 2 MiB and then one does not.
    full, left = done.stdout.splitlines()
    word, step = full.rsplit(" ", 1)
    assert word == "disk_full at", done.stderr
    whole = list(range(int(step) - 1, 0, -1))
    assert len(whole) > 3
    assert left == f"whole {whole} good True kinds ['gen']"


def test_a_checkpoint_whose_bytes_do_not_add_up_is_never_committed(run_dir: Path) -> None:
    run_dir.mkdir()
    short = Stream("model.bin", 10, [memoryview(b"123")])
    with pytest.raises(ValueError, match="3 bytes came, not 10"):
        commit(run_dir, [short], manifest(1), guard=OPEN)
    assert catalog.generations(run_dir) == []


def test_a_small_file_larger_than_it_may_be_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(100))
    with pytest.raises(OSError, match="larger than 99 bytes"):
        read_whole(REAL, tmp_path / "big", 99)


def test_opening_a_link_or_a_pipe_fails_at_once_instead_of_hanging(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match=r"symbolic links|not a plain file"):
            REAL.open(tmp_path / name)
    REAL.close(REAL.open(tmp_path / "file"))


def test_a_file_system_that_cannot_reserve_space_is_no_error(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert catalog.verify(commit_plain(run_dir, 1).path).ok
