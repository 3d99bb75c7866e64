"""The state of each step is in memory that a kill leaves alone, and is written from there."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer import handover
from trainer.checkpoint import catalog, lease, slots
from trainer.checkpoint.catalog import Entry
from trainer.contract.messages import (
    Command,
    Event,
    Finished,
    Heartbeat,
    Notice,
    Ready,
    Save,
    Saved,
    SaveFailed,
    Step,
    Stop,
)
from trainer.contract.spec import RunSpec


class Killed(BaseException):
    """Ends an attempt as a kill does: nothing is said, nothing is saved."""


class Victim(Puppeteer):
    """Dies at the first event that ``when`` picks."""

    def __init__(self, when: Callable[[Event], bool]) -> None:
        super().__init__()
        self._when = when

    def send(self, event: Event) -> None:
        super().send(event)
        if self._when(event):
            raise Killed


def after_step(step: int) -> Callable[[Event], bool]:
    """Once the micro-batches of the step after it have begun."""
    return lambda event: isinstance(event, Heartbeat) and event.step == step


class Run:
    """One run and its attempts."""

    def __init__(self, spec: RunSpec, run_dir: Path, data_dir: Path) -> None:
        self.spec = spec
        self.run_dir = run_dir
        self.data_dir = data_dir

    def killed(self, step: int) -> Entry:
        """An attempt that dies after ``step``; the slot that it leaves."""
        with pytest.raises(Killed):
            support.train(self._job(), Victim(after_step(step)))
        return slots.whole(self.run_dir)[0]

    def finished(self) -> Puppeteer:
        """The attempt that ends it."""
        link = Puppeteer()
        assert support.train(self._job(), link) == 0
        assert isinstance(link.last, Finished)
        assert not slots.home(self.run_dir).exists(), "the memory is given back"
        return link

    def _job(self) -> Any:
        return support.job_for(self.spec, self.run_dir, self.data_dir)


@pytest.fixture
def run(corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The tiny run, which beats at each micro-batch and never saves by itself."""
    monkeypatch.setattr("trainer.announce._EVERY_SECONDS", 0.0)
    monkeypatch.setattr("trainer.snapshots._PAUSES", 0.0)
    return Run(support.tiny_spec(corpus), run_dir, data_dir)


def kinds(link: Puppeteer) -> list[str]:
    return [notice.kind for notice in link.of(Notice)]


def test_killed_without_any_checkpoint_it_goes_on_from_memory(
    run: Run, undisturbed: dict[str, str]
) -> None:
    slot = run.killed(2)
    assert slot.step == 2
    assert not catalog.list_checkpoints(run.run_dir)
    link = run.finished()
    ready = link.one(Ready)
    assert (ready.step, ready.checkpoint) == (2, f"memory/{slot.path.name}")
    assert "resumed_from_memory" in kinds(link)
    # what was only in memory is on the disk before the evaluation that was due
    assert link.of(Saved)[0].step == 2
    assert support.fingerprint(run.run_dir) == undisturbed


def test_killed_again_and_again_each_life_goes_on_where_the_last_one_was(
    run: Run, undisturbed: dict[str, str]
) -> None:
    assert [run.killed(step).step for step in (1, 2, 3)] == [1, 2, 3]
    assert run.finished().one(Ready).step == 3
    assert support.fingerprint(run.run_dir) == undisturbed


def test_the_checkpoint_on_the_disk_is_taken_where_it_is_as_new(
    run: Run, corpus: Path, undisturbed: dict[str, str]
) -> None:
    run.spec = support.tiny_spec(corpus, every_steps=2)
    run.killed(2)
    ready = run.finished().one(Ready)
    assert ready.step == 2
    assert ready.checkpoint.startswith("gen-00000002-")
    assert support.fingerprint(run.run_dir) == undisturbed


def test_a_flipped_bit_in_memory_is_named_and_the_older_slot_is_taken(
    run: Run, undisturbed: dict[str, str]
) -> None:
    newest = run.killed(3)
    flip(newest.path / "optimizer.safetensors")
    link = run.finished()
    (damage,) = [n for n in link.of(Notice) if n.kind == "memory_slot_damaged"]
    assert f"slot {newest.path.name} " in damage.message
    assert "optimizer.safetensors: its checksum does not match" in damage.message
    assert link.one(Ready).step == 2
    assert support.fingerprint(run.run_dir) == undisturbed


def test_with_both_slots_damaged_the_disk_has_it(
    run: Run, corpus: Path, undisturbed: dict[str, str]
) -> None:
    run.spec = support.tiny_spec(corpus, every_steps=1, every_seconds=1e9)
    run.killed(2)
    run.spec = support.tiny_spec(corpus)
    run.killed(3)
    for slot in slots.whole(run.run_dir):
        flip(slot.path / "model.safetensors")
    link = run.finished()
    assert "memory_slot_damaged" in kinds(link)
    assert link.one(Ready).checkpoint.startswith("gen-00000002-")
    assert support.fingerprint(run.run_dir) == undisturbed


def test_a_slot_whose_filling_was_cut_short_is_left_alone(
    run: Run, undisturbed: dict[str, str]
) -> None:
    newest = run.killed(3)
    (newest.path / "MANIFEST").unlink()
    link = run.finished()
    assert "memory_slot_torn" in kinds(link)
    assert link.one(Ready).step == 2
    assert support.fingerprint(run.run_dir) == undisturbed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "other"}, "belongs to run 'tiny'"),
        ({"seed": 12}, "another spec"),
    ],
)
def test_another_runs_memory_is_not_gone_on_from(
    run: Run, corpus: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run.killed(2)
    other = Run(support.tiny_spec(corpus, **change), tmp_path / "other", run.data_dir)
    with pytest.raises(Killed):
        support.train(other._job(), Victim(lambda event: isinstance(event, Ready)))
    slots.home(run.run_dir).rename(slots.home(other.run_dir))
    link = other.finished()
    (foreign, *_) = [n for n in link.of(Notice) if n.kind == "memory_slot_foreign"]
    assert said in foreign.message
    assert link.one(Ready).step == 0


def test_a_run_that_was_deleted_and_begun_anew_begins_at_the_beginning(
    run: Run, undisturbed: dict[str, str]
) -> None:
    run.killed(2)
    (run.run_dir / "run.json").unlink()
    assert run.finished().one(Ready).step == 0
    assert support.fingerprint(run.run_dir) == undisturbed


def test_switched_off_it_leaves_nothing_in_memory(run: Run, corpus: Path) -> None:
    run.killed(2)
    run.spec = support.tiny_spec(corpus, ram="off")
    with pytest.raises(Killed):
        support.train(run._job(), Victim(after_step(2)))
    assert not slots.home(run.run_dir).exists()
    assert run.finished().one(Ready).step == 0


def test_where_memory_is_too_small_it_says_so_and_saves_as_ever(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, str]
) -> None:
    monkeypatch.setattr(slots, "free_bytes", lambda run_dir: 1000)
    run.spec = support.tiny_spec(corpus, every_steps=2, writer="process")
    link = run.finished()
    assert kinds(link).count("memory_tier_off") == 1
    assert [saved.step for saved in link.of(Saved)] == [2, 4]
    assert support.fingerprint(run.run_dir) == undisturbed


def test_with_room_for_one_slot_only_one_is_used(
    run: Run, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, str]
) -> None:
    monkeypatch.setattr(slots, "count_for", lambda state_bytes, free_bytes: 1)
    assert run.killed(2).step == 2
    assert len(slots.whole(run.run_dir)) == 1
    assert run.finished().one(Ready).step == 2
    assert support.fingerprint(run.run_dir) == undisturbed


def test_a_rollback_leaves_no_newer_state_in_memory(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.spec = support.tiny_spec(corpus, steps=6, every_steps=2, eval_every_steps=0)
    from trainer.contract.messages import RolledBack
    from trainer.health import Health, Retreat

    judged = Health.retreat

    def at_three(health: Health, step: int) -> Retreat | None:
        monkeypatch.setattr(Health, "retreat", judged)
        return None if step < 3 else Retreat(2, 3, 3, 1, "a test says so")

    def armed(health: Health, step: int) -> Retreat | None:
        return at_three(health, step) if step >= 3 else None

    monkeypatch.setattr(Health, "retreat", armed)
    link = Victim(lambda event: isinstance(event, RolledBack))
    with pytest.raises(Killed):
        support.train(run._job(), link)
    assert slots.whole(run.run_dir) == []


# --- the writer ---------------------------------------------------------------------------


def test_a_scheduled_save_goes_on_beside_the_training(
    run: Run, corpus: Path, undisturbed: dict[str, str]
) -> None:
    run.spec = support.tiny_spec(corpus, every_steps=2, writer="process", eval_every_steps=0)
    link = run.finished()
    (scheduled,) = [saved for saved in link.of(Saved) if saved.reason == "schedule"]
    assert scheduled.step == 2
    entry = next(e for e in catalog.list_checkpoints(run.run_dir) if e.step == 2)
    assert (entry.name, entry.manifest.reason) == (scheduled.name, "schedule")
    assert catalog.verify(entry.path).ok
    assert not lease.is_writing(run.run_dir)
    assert support.fingerprint(run.run_dir)["step"] == str(support.STEPS)


def test_who_asks_while_a_save_is_in_flight_is_told_when_it_is_durable(
    run: Run, corpus: Path
) -> None:
    run.spec = support.tiny_spec(corpus, every_steps=2, writer="process", eval_every_steps=0)

    def reply(event: Event) -> list[Any]:
        return [Save("mine")] if isinstance(event, Step) and event.step == 3 else []

    link = Puppeteer(reply)
    assert support.train(run._job(), link) == 0
    saved = [(event.step, event.reason, event.request) for event in link.of(Saved)]
    # the one in flight is told of first, then the one that was asked for
    assert saved[:2] == [(2, "schedule", ""), (3, "request", "mine")]


def test_a_stop_waits_for_the_save_in_flight(run: Run, corpus: Path) -> None:
    run.spec = support.tiny_spec(corpus, every_steps=3, writer="process", eval_every_steps=0)
    link = Puppeteer(
        lambda event: [Stop()] if isinstance(event, Heartbeat) and event.step == 3 else []
    )
    assert support.train(run._job(), link) == 0
    assert {saved.step for saved in link.of(Saved)} == {3}
    assert link.last.step == 3
    assert not slots.home(run.run_dir).exists()


def test_a_writer_that_dies_costs_one_save_and_training_goes_on(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, str]
) -> None:
    start = handover.Handover._start

    def doomed() -> subprocess.Popen[bytes]:
        monkeypatch.setattr(handover.Handover, "_start", staticmethod(start))
        dies = "import os, signal; input(); input(); os.kill(os.getpid(), signal.SIGKILL)"
        line = [sys.executable, "-c", dies]
        return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(handover.Handover, "_start", staticmethod(doomed))
    run.spec = support.tiny_spec(corpus, every_steps=2, writer="process", eval_every_steps=0)
    # who asks for a save waits for the one in flight
    link = Puppeteer(lambda event: [Save()] if isinstance(event, Step) and event.step == 3 else [])
    assert support.train(run._job(), link) == 0
    (failed,) = link.of(SaveFailed)
    assert (failed.step, failed.kind) == (2, "io")
    assert "killed by signal 9" in failed.message
    assert [event.step for event in link.of(Saved)] == [3, 4]
    assert support.fingerprint(run.run_dir) == undisturbed


def test_a_writer_that_hangs_is_killed(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.flight._PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("trainer.flight._SLOWEST_BYTES_PER_SECOND", 1e12)

    def stuck() -> subprocess.Popen[bytes]:
        line = [sys.executable, "-c", "import signal; signal.pause()"]
        return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(handover.Handover, "_start", staticmethod(stuck))
    run.spec = support.tiny_spec(corpus, every_steps=3, writer="process", eval_every_steps=0)
    link = Puppeteer()
    assert support.train(run._job(), link) == 0
    (failed,) = link.of(SaveFailed)
    assert "hangs" in failed.message
    assert [saved.step for saved in link.of(Saved)] == [support.STEPS]


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_nothing_is_left_when_the_machine_has_no_shared_memory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, str]
) -> None:
    monkeypatch.setattr(slots, "SHM", tmp_path / "absent")
    with contextlib.suppress(Killed):
        assert "memory_tier_off" in kinds(run.finished())
    assert support.fingerprint(run.run_dir) == undisturbed


@pytest.mark.parametrize("writer", ["trainer", "process"])
def test_a_run_deleted_while_it_trains_goes_on_from_memory_and_is_saved_anew(
    run: Run,
    corpus: Path,
    undisturbed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
) -> None:
    run.spec = support.tiny_spec(corpus, every_steps=1, writer=writer)
    monkeypatch.setattr("trainer.saver.RETRY_SECONDS", 0.0)

    def delete(event: Event) -> list[Command]:
        if isinstance(event, Step) and event.step == 2:
            shutil.rmtree(run.run_dir)
        return []

    link = Puppeteer(delete)
    job = support.job_for(run.spec, run.run_dir, run.data_dir)
    assert support.train(job, link) == 1
    failed = link.last
    assert (failed.kind, failed.retry) == ("removed", True)
    assert "somebody deleted it" in failed.message
    step = slots.whole(run.run_dir)[0].step
    assert f"step {step} is in memory, from where it goes on" in failed.message
    again = Puppeteer()
    assert support.train(dataclasses.replace(job, attempt=2, goes_on=True), again) == 0
    assert again.one(Ready).step == step >= 2
    assert "resumed_from_memory" in kinds(again)
    assert again.of(Saved)[0].step == step
    assert support.fingerprint(run.run_dir) == undisturbed


def test_a_run_begun_anew_under_an_old_name_takes_no_memory_of_the_old_one(run: Run) -> None:
    run.killed(2)
    shutil.rmtree(run.run_dir)
    assert run.finished().one(Ready).step == 0
