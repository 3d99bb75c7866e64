"""The scribe writes slots to the disk: whole, by the protocol, and never after its time."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.checkpoint.plain import CREATED, ROOT
from tests.unit.checkpoint.powercut import cut_everywhere
from tests.unit.checkpoint.rig import StillClock, same, state
from trainer.checkpoint import catalog, slots, snapshot
from trainer.checkpoint.commit import SaveError
from trainer.checkpoint.disk import Disk, FaultyDisk, Operation, RecordingDisk
from trainer.checkpoint.format import Manifest
from trainer.checkpoint.lease import (
    Fenced,
    Lease,
    Locked,
    WriterLock,
    await_writer,
    is_writing,
    raise_fence,
    writer_pid,
)
from trainer.checkpoint.reader import load
from trainer.checkpoint.scribe import Answer, Mandate, Order, Scribe
from trainer.contract.job import Guardian
from trainer.lifeline import start_ticks

PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _memory_given_back(run_dir: Path) -> Iterator[None]:
    run_dir.mkdir()
    yield
    slots.discard(run_dir)


def fill(run_dir: Path, step: int, *, attempt: int = 1, megabytes: int = 0) -> Path:
    """A slot with ``state(step)``, or with a larger one."""
    slot = slots.make_home(run_dir) / slots.NAMES[step % 2]
    files = state(step)
    if megabytes:
        files["model"]["large"] = torch.full((megabytes << 18,), float(step))
    manifest = Manifest("toy", step, attempt, CREATED, "memory", None, "cafe", meta={"micro": step})
    snapshot.fill(slot, files, manifest)
    return slot


def write(
    run_dir: Path, slot: Path, disk: Disk | None = None, *, attempt: int = 1
) -> catalog.Entry:
    """Have the scribe write a slot, in this process."""
    lock = WriterLock(run_dir, attempt)
    try:
        scribe = Scribe(lock, disk=disk, chunk_bytes=64) if disk else Scribe(lock)
        return scribe.write(Order(str(slot), "schedule", "gen-before"))
    finally:
        lock.release()


def test_a_slot_becomes_the_checkpoint_that_the_trainer_would_have_written(run_dir: Path) -> None:
    entry = write(run_dir, fill(run_dir, 3))
    assert (entry.step, entry.reason, entry.manifest.parent) == (3, "schedule", "gen-before")
    assert entry.manifest.meta == {"micro": 3}
    assert catalog.verify(entry.path).ok
    assert same(load(entry).files, state(3))


def test_bytes_that_changed_in_memory_are_not_saved(run_dir: Path) -> None:
    slot = fill(run_dir, 3)
    path = slot / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SaveError, match=r"model\.safetensors: its checksum changed") as caught:
        write(run_dir, slot)
    assert caught.value.kind == "damaged"
    assert list((run_dir / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("file", ["MANIFEST", "optimizer.safetensors"])
def test_a_slot_that_is_not_whole_is_not_saved(run_dir: Path, file: str) -> None:
    slot = fill(run_dir, 3)
    (slot / file).unlink()
    with pytest.raises(SaveError, match=file) as caught:
        write(run_dir, slot)
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("kind", ["write", "fsync", "fsync_dir"])
def test_a_disk_that_fails_costs_this_generation_and_no_other(
    run_dir: Path, number: int, kind: str
) -> None:
    before = write(run_dir, fill(run_dir, 1))

    def fault(operation: Operation) -> int:
        return number if operation.kind == kind and "tmp-" in str(operation.path) else 0

    with pytest.raises(SaveError) as caught:
        write(run_dir, fill(run_dir, 2), FaultyDisk(fault))
    assert caught.value.kind == ("disk_full" if number == errno.ENOSPC else "io")
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == [before.name]
    assert catalog.verify(before.path).ok


def test_no_power_cut_while_it_writes_loses_an_acknowledged_checkpoint(
    tmp_path: Path, run_dir: Path
) -> None:
    disk = RecordingDisk()
    run_dir.rmdir()
    run_dir.mkdir()
    with Lease.take(run_dir, 1, disk=disk):
        disk.mark("fence 1")
        for step in (1, 2, 3):
            entry = write(run_dir, fill(run_dir, step), disk)
            disk.mark(f"saved {entry.name}")
    states = 0
    for operation, broken in cut_everywhere(disk.log, tmp_path, run_dir):
        assert not broken, f"cut after {operation.kind} {operation.path.name}: {broken}"
        states += 1
    assert states > 200


def test_raising_the_fence_ends_it_in_the_middle(run_dir: Path) -> None:
    slot = fill(run_dir, 2)
    seen: list[str] = []

    def fault(operation: Operation) -> int:
        seen.append(operation.kind)
        if seen.count("write") == 2:
            raise_fence(run_dir, 2, clock=StillClock())
        return 0

    with pytest.raises(SaveError) as caught:
        write(run_dir, slot, FaultyDisk(fault))
    assert caught.value.kind == "fenced"
    assert seen.count("write") == 2, "not one chunk more"
    assert list((run_dir / "checkpoints").iterdir()) == []
    with pytest.raises(Fenced):
        WriterLock(run_dir, 1)


def test_no_lease_before_the_writer_is_gone(run_dir: Path) -> None:
    lock = WriterLock(run_dir, 1)
    assert (is_writing(run_dir), writer_pid(run_dir)) == (True, os.getpid())
    with pytest.raises(Locked, match="still writes a checkpoint"):
        Lease.take(run_dir, 2, wait_seconds=1.0, clock=StillClock())
    with pytest.raises(Fenced):
        lock.check()
    lock.release()
    assert (is_writing(run_dir), writer_pid(run_dir)) == (False, 0)
    Lease.take(run_dir, 2).release()


def test_a_writer_that_finishes_in_time_is_not_fenced_off(run_dir: Path) -> None:
    lock = WriterLock(run_dir, 1)

    def finish() -> None:
        lock.check()
        lock.release()
        clock._on_sleep = lambda: None

    clock = StillClock(finish)
    lease = Lease.take(run_dir, 2, wait_seconds=5.0, clock=clock)
    assert lease.token == 2
    assert not is_writing(run_dir), "it had its time, and used it"
    lease.release()


# --- as a process -------------------------------------------------------------------------


class Process:
    """A real scribe."""

    def __init__(self, run_dir: Path, guardians: tuple[Guardian, ...] = ()) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "trainer.checkpoint.scribe"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.say(Mandate(str(run_dir), 1, guardians).to_line())

    def say(self, line: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(line)
        self.child.stdin.flush()

    def answer(self) -> Answer:
        assert self.child.stdout is not None
        return Answer(**json.loads(self.child.stdout.readline()))

    def leave(self) -> int:
        """The end of its input."""
        self.child.communicate(timeout=PATIENCE_SECONDS)
        return self.child.returncode


def test_as_a_process_it_answers_each_order_and_leaves_at_the_end(run_dir: Path) -> None:
    process = Process(run_dir)
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.say(Order(str(fill(run_dir, 3)), "schedule", None).to_line())
        answer = process.answer()
        assert (answer.kind, answer.message) == ("", "")
        assert writer_pid(run_dir) == process.child.pid
        # a terminal or systemd stops everybody; it leaves at the end of its input
        process.child.send_signal(signal_number)
    process.say(Order("/nowhere", "schedule", None).to_line())
    assert process.answer().kind == "damaged"
    assert process.leave() == 0
    assert not is_writing(run_dir)
    assert len(catalog.list_checkpoints(run_dir)) == 3


def test_what_was_ordered_by_a_trainer_that_died_is_written(run_dir: Path) -> None:
    process = Process(run_dir)
    process.say(Order(str(fill(run_dir, 3, megabytes=24)), "schedule", None).to_line())
    # nobody is there to hear the answer
    assert process.child.stdin is not None
    assert process.child.stdout is not None
    process.child.stdin.close()
    process.child.stdout.close()
    assert process.child.wait(PATIENCE_SECONDS) == 0
    (entry,) = catalog.list_checkpoints(run_dir)
    assert catalog.verify(entry.path).ok


def test_with_its_guardian_it_goes_and_leaves_nothing_half_written(run_dir: Path) -> None:
    guardian = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = start_ticks(guardian.pid)
    assert ticks is not None
    process = Process(run_dir, (Guardian(guardian.pid, ticks),))
    order = Order(str(fill(run_dir, 3, megabytes=24)), "schedule", None).to_line()
    process.say(order)
    process.answer()
    for _ in range(20):
        process.say(order)
    guardian.kill()
    guardian.communicate()
    assert process.leave() == 0
    assert await_writer(run_dir, 0.0)
    names = [path.name for path in (run_dir / "checkpoints").iterdir()]
    assert names
    assert len(names) < 21
    assert all(name.startswith("gen-") for name in names)
    assert all(catalog.verify(entry.path).ok for entry in catalog.list_checkpoints(run_dir))


def test_two_never_write_to_one_run(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.checkpoint.lease._GUARD_SECONDS", 0.0)
    lock = WriterLock(run_dir, 1)
    with pytest.raises(Locked):
        WriterLock(run_dir, 1)
    lock.release()


def test_one_that_is_fenced_off_before_it_begins_says_so(run_dir: Path) -> None:
    raise_fence(run_dir, 2)
    process = Process(run_dir)
    assert process.answer().kind == "fenced"
    assert process.leave() == 77
