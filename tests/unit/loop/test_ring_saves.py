"""Where no copy of the state fits into memory, saves pass through a ring beside the training."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.unit.loop import ringing, support
from tests.unit.loop.ringing import is_waiting
from tests.unit.loop.support import Puppeteer
from trainer import handover
from trainer.checkpoint import catalog, host_memory, lease, ring, slots
from trainer.checkpoint.catalog import Entry
from trainer.contract.job import Job
from trainer.contract.messages import (
    Event,
    Failed,
    Finished,
    Heartbeat,
    Notice,
    Ready,
    Saved,
    SaveFailed,
    Step,
    Stop,
)
from trainer.contract.spec import RunSpec
from trainer.data import Loader
from trainer.optim import Optimizer

PATIENCE_SECONDS = 60.0


@dataclass
class Gate:
    """Holds the writer back until somebody opens it."""

    reader: int
    writer: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def open(self) -> None:
        os.write(self.writer, b"!")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Every writer waits at it."""
    gate = Gate(*os.pipe())
    start = ringing.waits_for(gate.reader)

    def gated(inherited: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        gate.started.append(start(inherited))
        return gate.started[-1]

    monkeypatch.setattr(handover.Handover, "_start", staticmethod(gated))
    yield gate
    os.close(gate.reader)
    os.close(gate.writer)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    ringing.small(monkeypatch.setattr)
    monkeypatch.setattr("trainer.announce._EVERY_SECONDS", 0.0)


@pytest.fixture
def spec(corpus: Path) -> RunSpec:
    """The tiny run, which keeps no copy in memory and saves by the schedule after step 2."""
    return support.tiny_spec(corpus, ram="off", writer="process", every_steps=2, eval_every_steps=0)


def of_step(run_dir: Path, step: int) -> Entry:
    return next(entry for entry in catalog.list_checkpoints(run_dir) if entry.step == step)


def hashes(entry: Entry) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in entry.path.glob("*.safetensors")
    }


@pytest.fixture(scope="module")
def by_trainer(
    corpus: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, dict[str, str]]:
    """The bytes of each checkpoint as the trainer itself writes them."""
    run_dir = tmp_path_factory.mktemp("by-trainer") / "tiny"
    spec = support.tiny_spec(corpus, ram="off", writer="trainer", every_steps=2, eval_every_steps=0)
    assert support.train(support.job_for(spec, run_dir, data_dir)) == 0
    return {entry.step: hashes(entry) for entry in catalog.list_checkpoints(run_dir)}


def kinds(link: Puppeteer) -> list[str]:
    return [notice.kind for notice in link.of(Notice)]


def test_a_save_through_the_ring_makes_the_bytes_that_the_trainer_would_have_made(
    job: Job,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_trainer: dict[int, dict[str, str]],
) -> None:
    made: list[int] = []
    make = ring.Inlet.__init__

    def noted(inlet: ring.Inlet, size_bytes: int) -> None:
        made.append(size_bytes)
        make(inlet, size_bytes)

    monkeypatch.setattr(ring.Inlet, "__init__", noted)
    before = open_files()
    link = Puppeteer()
    assert support.train(job, link) == 0
    assert made == [ringing.RING_BYTES]
    assert open_files() == before, "and nothing of it is left"
    assert [(saved.step, saved.reason) for saved in link.of(Saved)] == [
        (2, "schedule"),
        (4, "final"),
    ]
    assert {e.step: hashes(e) for e in catalog.list_checkpoints(run_dir)} == by_trainer
    entry = of_step(run_dir, 2)
    assert (entry.name, entry.manifest.reason) == (link.of(Saved)[0].name, "schedule")
    assert catalog.verify(entry.path).ok
    assert sum(entry.manifest.files[name].size_bytes for name in hashes(entry)) > (
        4 * ringing.RING_BYTES
    )
    assert kinds(link).count("saves_by_ring") == 1
    assert not lease.is_writing(run_dir)
    assert not slots.home(run_dir).exists()


def test_without_room_for_a_slot_the_ring_takes_over(
    corpus: Path,
    run_dir: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_trainer: dict[int, dict[str, str]],
) -> None:
    monkeypatch.setattr(slots, "free_bytes", lambda run_dir: 1000)
    spec = support.tiny_spec(corpus, writer="process", every_steps=2, eval_every_steps=0)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert [kind for kind in kinds(link) if kind.startswith(("memory", "saves"))] == [
        "memory_tier_off",
        "saves_by_ring",
    ]
    assert hashes(of_step(run_dir, 2)) == by_trainer[2]


def test_without_room_for_a_ring_the_trainer_writes_and_says_so(
    job: Job,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_trainer: dict[int, dict[str, str]],
) -> None:
    few = host_memory.Memory(16 << 30, ringing.RING_BYTES)
    monkeypatch.setattr(host_memory, "read", lambda: few)
    link = Puppeteer()
    assert support.train(job, link) == 0
    assert kinds(link).count("saves_stop_training") == 1
    assert {e.step: hashes(e) for e in catalog.list_checkpoints(run_dir)} == by_trainer


def test_a_kernel_without_such_memory_costs_the_ring_only(
    job: Job, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str, flags: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refused)
    link = Puppeteer()
    assert support.train(job, link) == 0
    assert "saves_stop_training" in kinds(link)
    assert [saved.step for saved in link.of(Saved)] == [2, 4]


def test_no_update_before_the_ring_has_taken_the_whole_state(
    job: Job,
    run_dir: Path,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    by_trainer: dict[int, dict[str, str]],
) -> None:
    """The writer takes nothing before the update waits for it, or is done without waiting."""
    update = Optimizer.step

    def updated(optimizer: Optimizer, step: int, steps: int) -> float:
        norm = update(optimizer, step, steps)
        if step == 2:
            gate.open()
        return norm

    monkeypatch.setattr(Optimizer, "step", updated)
    opened: list[Event] = []

    def reply(event: Event) -> list[Any]:
        if is_waiting(event) and not opened:
            opened.append(event)
            gate.open()
        return []

    link = Puppeteer(reply)
    assert support.train(job, link) == 0
    assert hashes(of_step(run_dir, 2)) == by_trainer[2]
    assert opened
    (scheduled,) = [saved for saved in link.of(Saved) if saved.reason == "schedule"]
    assert scheduled.step == 2
    assert scheduled.stall_seconds > 0.0, "what the update has waited for is the save's"


def test_a_stop_in_the_middle_waits_until_the_state_is_durable(
    job: Job, run_dir: Path, gate: Gate, by_trainer: dict[int, dict[str, str]]
) -> None:
    def reply(event: Event) -> list[Any]:
        if isinstance(event, Heartbeat) and event.step == 2:
            assert gate.started, "the state is on its way"
            gate.open()
            return [Stop()]
        return []

    link = Puppeteer(reply)
    assert support.train(job, link) == 0
    assert [saved.reason for saved in link.of(Saved)] == ["schedule", "stop"]
    assert link.last.step == 2
    assert len(catalog.list_checkpoints(run_dir)) == 1, "the stop needs no save of its own"
    assert hashes(of_step(run_dir, 2)) == by_trainer[2]
    assert not lease.is_writing(run_dir)


@pytest.mark.parametrize("in_time", [True, False])
def test_of_a_trainer_that_fails_meanwhile_the_state_is_saved_if_it_comes_through_in_time(
    job: Job,
    run_dir: Path,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    by_trainer: dict[int, dict[str, str]],
    in_time: bool,
) -> None:
    batch = Loader.batch

    def broken(loader: Loader, index: int) -> Any:
        if index < 2 * support.MICRO_BATCHES + 1:
            return batch(loader, index)
        if in_time:
            gate.open()
        else:
            monkeypatch.setattr("trainer.flight._LEAVE_SECONDS", 0.0)
            monkeypatch.setattr("trainer.handover._LEAVE_SECONDS", 0.0)
        raise RuntimeError("a shard is gone")

    monkeypatch.setattr(Loader, "batch", broken)
    link = Puppeteer()
    assert support.train(job, link) == 1
    assert isinstance(link.last, Failed)
    if in_time:
        assert hashes(of_step(run_dir, 2)) == by_trainer[2]
    else:
        gate.open()
        gate.started[0].wait(PATIENCE_SECONDS)
        assert list((run_dir / "checkpoints").iterdir()) == []


def test_a_writer_that_is_killed_costs_one_save_and_training_goes_on(
    job: Job, run_dir: Path, gate: Gate, by_trainer: dict[int, dict[str, str]]
) -> None:
    def reply(event: Event) -> list[Any]:
        if is_waiting(event):
            gate.started[0].kill()
        return []

    link = Puppeteer(reply)
    assert support.train(job, link) == 0
    (failed,) = link.of(SaveFailed)
    assert (failed.step, failed.kind) == (2, "io")
    assert "killed by signal 9" in failed.message
    assert [entry.step for entry in catalog.list_checkpoints(run_dir)] == [4]
    assert hashes(of_step(run_dir, 4)) == by_trainer[4]


def test_a_writer_that_hangs_while_an_update_waits_is_killed(
    job: Job, run_dir: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.flight._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("trainer.flight._SLOWEST_BYTES_PER_SECOND", 1e12)
    monkeypatch.setattr("trainer.flight._LOOK_SECONDS", 0.01)
    link = Puppeteer()
    assert support.train(job, link) == 0
    (failed,) = link.of(SaveFailed)
    assert (failed.step, failed.kind) == (2, "io")
    assert "hangs" in failed.message
    assert gate.started[0].returncode == -signal.SIGKILL
    assert [saved.step for saved in link.of(Saved)] == [4]


def test_a_full_disk_costs_one_save_and_training_goes_on(
    job: Job,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_trainer: dict[int, dict[str, str]],
) -> None:
    full = "from trainer.checkpoint.disk import RealDisk; RealDisk.free_bytes = lambda *_: 0"
    monkeypatch.setattr(handover.Handover, "_start", staticmethod(ringing.starter(full)))
    link = Puppeteer()
    assert support.train(job, link) == 0
    (failed,) = link.of(SaveFailed)
    assert (failed.step, failed.kind) == (2, "disk_full")
    assert "not enough space" in failed.message
    assert hashes(of_step(run_dir, 4)) == by_trainer[4]


def test_a_state_that_cannot_be_copied_is_abandoned_and_says_why(
    job: Job, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr("trainer.checkpoint.snapshot.send", broken)
    link = Puppeteer()
    assert support.train(job, link) == 0
    (failed,) = link.of(SaveFailed)
    assert (failed.step, failed.kind) == (2, "io")
    assert "CUDA error" in failed.message
    assert [saved.step for saved in link.of(Saved)] == [4]


def test_a_trainer_killed_with_the_ring_full_leaves_the_old_checkpoint_and_no_memory(
    corpus: Path,
    spec: RunSpec,
    run_dir: Path,
    data_dir: Path,
    by_trainer: dict[int, dict[str, str]],
) -> None:
    first = support.tiny_spec(corpus, ram="off", eval_every_steps=0)
    stops = Puppeteer(lambda event: [Stop()] if isinstance(event, Step) and event.step == 1 else [])
    assert support.train(support.job_for(first, run_dir, data_dir), stops) == 0
    (before,) = catalog.list_checkpoints(run_dir)

    reader, writer = os.pipe()
    trainer = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.loop.ringing", str(reader)],
        cwd=ringing.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[reader],
        text=True,
    )
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    job = support.job_for(spec, run_dir, data_dir)
    trainer.stdin.write(json.dumps(job.to_dict()) + "\n")
    trainer.stdin.flush()
    wait_for_line(trainer.stdout, lambda line: line == "waiting\n")
    # the writer has taken nothing: the ring is full, and most of the state is not in it
    (scribe,) = psutil.Process(trainer.pid).children()
    memory = rings(scribe.pid)
    assert list(memory.values()) == [ringing.RING_BYTES]
    trainer.kill()
    trainer.communicate()
    os.write(writer, b"!")
    gone, _ = psutil.wait_procs([scribe], timeout=PATIENCE_SECONDS)
    assert gone, "it leaves by itself"
    os.close(reader)
    os.close(writer)

    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == [before.name]
    holders = [pid for pid in psutil.pids() if memory.keys() & rings(pid).keys()]
    assert holders == [], "nobody has the memory any more"
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.one(Ready).checkpoint == before.name
    assert isinstance(link.last, Finished)
    assert hashes(of_step(run_dir, 4)) == by_trainer[4]


def wait_for_line(lines: Iterator[str] | Any, holds: Callable[[str], bool]) -> None:
    """Read until one is as it should be; a process that ends before that fails the test."""
    heard = []
    for line in lines:
        heard.append(line)
        if holds(line):
            return
    raise AssertionError(f"it ended, and said {heard}")


def rings(pid: int) -> dict[int, int]:
    """The rings that a process has: bytes taken by the number of the file."""
    found = {}
    try:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            if handle.readlink().name.startswith("memfd:homerun-ring"):
                status = handle.stat()
                found[status.st_ino] = status.st_blocks * 512
    except OSError:
        pass  # it is gone, or another user's
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
