"""Never two trainers on one run, and no commit by one whose time is over."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.unit.checkpoint.plain import commit_plain, end, spawn
from tests.unit.checkpoint.rig import StillClock, save_step
from trainer.checkpoint import catalog
from trainer.checkpoint.disk import FaultyDisk, ObservedDisk, Operation, RealDisk, RecordingDisk
from trainer.checkpoint.lease import (
    Fenced,
    Lease,
    Locked,
    Removed,
    WriterLock,
    highest_attempt,
    next_token,
    raise_fence,
    read_fence,
)
from trainer.checkpoint.writer import SaveError


def test_a_second_process_is_told_who_lives_there_and_sigkill_frees_the_run(
    run_dir: Path,
) -> None:
    child = spawn("lock", run_dir)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(Locked, match=f"in use by process {child.pid}") as caught:
            Lease.take(run_dir, 2, wait_seconds=0)
        assert caught.value.pid == child.pid
    finally:
        end(child)
    with Lease.take(run_dir, 2, wait_seconds=0) as lease:
        lease.check()


def test_a_trainer_that_leaves_in_order_frees_the_run(run_dir: Path) -> None:
    child = spawn("lock", run_dir)
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    child.communicate("")
    assert child.returncode == 0
    Lease.take(run_dir, 2, wait_seconds=0).release()


def test_a_forked_child_neither_frees_the_lock_nor_keeps_it_after_the_trainers_death(
    run_dir: Path,
) -> None:
    trainer = spawn("fork", run_dir)
    assert trainer.stdout is not None
    orphan = int(trainer.stdout.readline())
    try:
        with pytest.raises(Locked, match=f"process {trainer.pid}"):
            Lease.take(run_dir, 2, wait_seconds=0)
        trainer.kill()
        trainer.wait()
        os.kill(orphan, 0)
        Lease.take(run_dir, 2, wait_seconds=0).release()
    finally:
        os.kill(orphan, signal.SIGKILL)
        end(trainer)


def test_waiting_for_the_lock_ends_as_soon_as_it_is_free(run_dir: Path) -> None:
    first = Lease.take(run_dir, 1)
    clock = StillClock(on_sleep=first.release)
    second = Lease.take(run_dir, 2, wait_seconds=60, clock=clock)
    assert clock.monotonic() < 101
    second.release()


def test_asking_in_vain_leaks_no_handles(run_dir: Path, lease: Lease) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(Locked):
            Lease.take(run_dir, 2, wait_seconds=0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_waiting_for_the_lock_ends_when_the_time_is_up(run_dir: Path) -> None:
    clock = StillClock()
    with Lease.take(run_dir, 1), pytest.raises(Locked):
        Lease.take(run_dir, 2, wait_seconds=60, clock=clock)
    assert 160 <= clock.monotonic() < 161


def test_a_late_writer_cannot_commit(run_dir: Path, lease: Lease) -> None:
    save_step(run_dir, 1, lease)
    raise_fence(run_dir, 2)
    with pytest.raises(Fenced, match="attempt 2 owns"):
        lease.check()
    with pytest.raises(SaveError) as caught:
        save_step(run_dir, 2, lease)
    assert caught.value.kind == "fenced"
    assert [entry.step for entry in catalog.list_checkpoints(run_dir)] == [1]


def test_a_writer_that_is_fenced_already_writes_nothing_at_all(run_dir: Path, lease: Lease) -> None:
    raise_fence(run_dir, 2)
    disk = RecordingDisk()
    with pytest.raises(SaveError):
        save_step(run_dir, 1, lease, disk=disk)
    assert disk.log == []


def test_a_writer_that_is_fenced_in_the_middle_of_a_save_cannot_commit(
    run_dir: Path, lease: Lease
) -> None:
    def fence_at_the_manifest(operation: Operation) -> int:
        if operation.kind == "fsync" and operation.path.name == "MANIFEST":
            raise_fence(run_dir, 9)
        return 0

    with pytest.raises(SaveError) as caught:
        save_step(run_dir, 2, lease, disk=FaultyDisk(fence_at_the_manifest))
    assert caught.value.kind == "fenced"
    assert list((run_dir / "checkpoints").iterdir()) == []


def test_an_old_attempt_cannot_take_the_run_back(run_dir: Path) -> None:
    Lease.take(run_dir, 5).release()
    with pytest.raises(Fenced):
        Lease.take(run_dir, 4)
    Lease.take(run_dir, 5).release()
    assert next_token(run_dir) == 6


def test_a_failed_take_gives_the_lock_back(run_dir: Path) -> None:
    raise_fence(run_dir, 5)
    with pytest.raises(Fenced):
        Lease.take(run_dir, 4)
    disk = FaultyDisk(lambda operation: errno.EROFS if operation.kind == "create" else 0)
    with pytest.raises(OSError, match="Read-only"):
        Lease.take(run_dir, 6, disk=disk)
    Lease.take(run_dir, 6, wait_seconds=0).release()


def test_the_fence_never_falls(run_dir: Path) -> None:
    raise_fence(run_dir, 7)
    raise_fence(run_dir, 3)
    assert read_fence(run_dir) == 7


@pytest.mark.parametrize(
    "damage",
    [b"", b"7", b"homerun-fence 1 7 00000000\n", b"\x00" * 26, b"homerun-fence 1 8 4e3a6c1f"],
)
def test_a_damaged_fence_stands_at_the_highest_attempt_that_ever_wrote(
    run_dir: Path, damage: bytes
) -> None:
    run_dir.mkdir()
    commit_plain(run_dir, 1, attempt=3)
    commit_plain(run_dir, 2, attempt=2)
    (run_dir / "checkpoints" / "tmp-00000003-000004-00000001").mkdir()
    (run_dir / "fence").write_bytes(damage)
    assert highest_attempt(run_dir) == 4
    assert read_fence(run_dir) == 4
    assert next_token(run_dir) == 5
    with pytest.raises(Fenced):
        Lease.take(run_dir, 3)
    Lease.take(run_dir, 4).release()
    assert (run_dir / "fence").read_bytes().startswith(b"homerun-fence 1 4 ")


def test_every_changed_byte_of_the_fence_is_noticed(run_dir: Path) -> None:
    raise_fence(run_dir, 12345)
    good = (run_dir / "fence").read_bytes()
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        (run_dir / "fence").write_bytes(bad)
        assert read_fence(run_dir) == 0


def test_a_run_that_nobody_touched_starts_at_one(run_dir: Path) -> None:
    assert read_fence(run_dir) == 0
    assert next_token(run_dir) == 1


def test_leftovers_of_an_interrupted_fence_do_not_matter(run_dir: Path) -> None:
    raise_fence(run_dir, 2)
    (run_dir / "fence.new").write_text("half")
    raise_fence(run_dir, 3)
    assert read_fence(run_dir) == 3
    assert not (run_dir / "fence.new").exists()


def test_two_that_raise_the_fence_at_once_do_not_lower_it(run_dir: Path) -> None:
    """The second cannot get between the first one's reading and writing."""

    class Meanwhile(ObservedDisk):
        def create(self, path: Path) -> int:
            clock = StillClock()
            with pytest.raises(Locked, match="being raised"):
                raise_fence(run_dir, 9, clock=clock)
            return super().create(path)

    raise_fence(run_dir, 5, disk=Meanwhile(RealDisk()))
    raise_fence(run_dir, 9)
    assert read_fence(run_dir) == 9


def test_a_lock_file_that_somebody_removed_guards_nothing_and_that_is_noticed(
    run_dir: Path, lease: Lease
) -> None:
    (run_dir / "lock").unlink()
    with pytest.raises(Removed, match="was removed: somebody deleted it"):
        lease.check()
    (run_dir / "lock").write_text("another")
    with pytest.raises(Fenced, match="was replaced: another trainer") as caught:
        lease.check()
    assert not isinstance(caught.value, Removed)


def test_a_run_that_was_deleted_is_told_from_one_that_was_moved_or_taken_over(
    run_dir: Path, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = WriterLock(run_dir, 1)
    elsewhere = run_dir.with_name("moved")
    run_dir.rename(elsewhere)
    for guard in (lease, writer):
        with pytest.raises(Fenced, match="moved away, or its disk is no longer mounted") as caught:
            guard.check()
        assert caught.value.kind == "fenced"
    with Lease.take(run_dir, 2):
        for guard in (lease, writer):
            with pytest.raises(Fenced) as caught:
                guard.check()
            assert caught.value.kind == "fenced", "it is another one's now"
    shutil.rmtree(run_dir)
    elsewhere.rename(run_dir)
    lease.check()
    writer.check()
    shutil.rmtree(run_dir)
    for guard in (lease, writer):
        with pytest.raises(Removed):
            guard.check()
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda handle: OnAnotherDisk(fstat(handle)))
    with pytest.raises(Fenced, match="no longer mounted"):
        lease.check()
    monkeypatch.undo()
    writer.release()


class OnAnotherDisk:
    """What fstat says of a deleted file on a disk that is not mounted any more."""

    def __init__(self, status: os.stat_result) -> None:
        self.st_ino, self.st_nlink, self.st_dev = status.st_ino, status.st_nlink, -1


def test_a_lock_file_replaced_while_we_waited_is_taken_anew(run_dir: Path) -> None:
    first = Lease.take(run_dir, 1)

    def replace_and_release() -> None:
        with contextlib.suppress(FileNotFoundError):
            (run_dir / "lock").unlink()
        first.release()

    clock = StillClock(on_sleep=replace_and_release)
    with Lease.take(run_dir, 2, wait_seconds=5, clock=clock) as second:
        second.check()
        assert second.token == 2


def test_a_released_lease_lets_nothing_through(run_dir: Path, lease: Lease) -> None:
    lease.release()
    lease.release()
    with pytest.raises(Fenced, match="given back"):
        lease.check()


def test_a_lock_file_full_of_nonsense_names_nobody(run_dir: Path, lease: Lease) -> None:
    (run_dir / "lock").write_bytes(b"\xff\xfe nonsense")
    with pytest.raises(Locked, match="another process") as caught:
        Lease.take(run_dir, 2, wait_seconds=0)
    assert caught.value.pid == 0
