"""When checkpoints are taken, and what happens when that fails."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.loop import support
from tests.unit.loop.support import HandClock, Puppeteer
from trainer import loop
from trainer.checkpoint import catalog, slots, writer
from trainer.checkpoint.format import encode_manifest
from trainer.checkpoint.writer import SaveError
from trainer.contract.job import Job
from trainer.contract.messages import (
    Evaluated,
    Finished,
    Notice,
    Ready,
    Saved,
    SaveFailed,
    Step,
    Stop,
    Stopped,
)
from trainer.contract.spec import RunSpec


class Wear(Puppeteer):
    """A person whose clock moves on by so many seconds at each step."""

    def __init__(self, clock: HandClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def send(self, event: Any) -> None:
        super().send(event)
        if isinstance(event, Step):
            self._clock.sleep(self._seconds)

    def wait(self, timeout_seconds: float) -> Any:
        self._clock.sleep(timeout_seconds)
        return super().wait(timeout_seconds)


def test_saved_by_time(corpus: Path, run_dir: Path, data_dir: Path) -> None:
    clock = HandClock()
    spec = support.tiny_spec(corpus, steps=7, every_seconds=100.0, eval_every_steps=0)
    link = Wear(clock, 40.0)
    assert loop.train(support.job_for(spec, run_dir, data_dir), link, clock) == 0
    assert [(saved.step, saved.reason) for saved in link.of(Saved)] == [
        (3, "schedule"),
        (6, "schedule"),
        (7, "final"),
    ]


def test_saved_by_steps_and_each_checkpoint_names_its_parent(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, every_steps=2, steps=5, eval_every_steps=0)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert [saved.step for saved in link.of(Saved)] == [2, 4, 5]
    newest, *older = catalog.list_checkpoints(run_dir)
    assert newest.manifest.parent == older[0].name
    assert older[-1].manifest.parent is None


def test_saved_before_a_scheduled_evaluation_unless_just_saved(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    clock = HandClock()
    spec = support.tiny_spec(corpus, steps=5, eval_every_steps=1)
    link = Wear(clock, 40.0)
    assert loop.train(support.job_for(spec, run_dir, data_dir), link, clock) == 0
    kinds = [
        (type(event).__name__, event.step)
        for event in link.events
        if isinstance(event, Saved | Evaluated)
    ]
    assert kinds == [
        ("Evaluated", 0),
        ("Evaluated", 1),
        ("Saved", 2),
        ("Evaluated", 2),
        ("Evaluated", 3),
        ("Saved", 4),
        ("Evaluated", 4),
        ("Saved", 5),
        ("Evaluated", 5),
    ]


def test_a_checkpoint_says_where_it_stands(job: Job, run_dir: Path) -> None:
    link = Puppeteer()
    support.train(job, link)
    newest = catalog.list_checkpoints(run_dir)[0].manifest
    assert newest.run == "tiny"
    assert newest.spec_digest == job.spec.digest()
    assert newest.meta["step"] == support.STEPS
    assert newest.meta["tokens"] == support.STEPS * job.spec.train.batch_tokens
    assert newest.meta["bits_per_byte_before"] == link.last.bits_per_byte_before
    assert newest.meta["environment"] == link.one(Ready).environment
    assert newest.meta["loss"] == link.of(Step)[-1].loss


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(
    corpus: Path, run_dir: Path, data_dir: Path, undisturbed: dict[str, str]
) -> None:
    stopped_at_three(corpus, run_dir, data_dir)
    newest = catalog.list_checkpoints(run_dir)[0]
    model = newest.path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-7])
    link = Puppeteer()
    spec = support.tiny_spec(corpus)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    notice = link.one(Notice)
    assert (notice.kind, notice.severity) == ("checkpoint_damaged", "error")
    assert newest.name in notice.message
    assert "model.safetensors" in notice.message
    assert link.one(Ready).step == 2
    assert support.fingerprint(run_dir) == undisturbed


def test_the_newest_of_another_run_put_here_by_hand_is_named_and_not_trained_from(
    corpus: Path, tmp_path: Path, run_dir: Path, data_dir: Path, undisturbed: dict[str, str]
) -> None:
    stopped_at_three(corpus, run_dir, data_dir)
    other = tmp_path / "other"
    spec = dataclasses.replace(support.tiny_spec(corpus), name="other", seed=99)
    assert support.train(support.job_for(spec, other, data_dir), Puppeteer()) == 0
    alien = catalog.list_checkpoints(other)[0]
    shutil.copytree(alien.path, run_dir / "checkpoints" / alien.name)
    link = Puppeteer()
    job = support.job_for(support.tiny_spec(corpus), run_dir, data_dir)
    assert support.train(job, link) == 0
    notice = link.one(Notice)
    assert notice.kind == "checkpoint_damaged"
    assert f"{alien.name} is set aside: MANIFEST: belongs to run 'other'" in notice.message
    assert link.one(Ready).step == 3
    assert support.fingerprint(run_dir) == undisturbed


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"files": {}}, "names no file model.safetensors, no file optimizer.safetensors"),
        ({"meta": {}}, "names no figure 'step', no figure 'loss'"),
        ({"step": 2}, "its state is said to be of step 2"),
    ],
)
def test_a_manifest_edited_by_hand_with_a_good_checksum_costs_only_its_checkpoint(
    corpus: Path,
    run_dir: Path,
    data_dir: Path,
    undisturbed: dict[str, str],
    change: dict[str, Any],
    problem: str,
) -> None:
    stopped_at_three(corpus, run_dir, data_dir)
    newest = catalog.list_checkpoints(run_dir)[0]
    if "step" in change:
        change = {"meta": {**newest.manifest.meta, **change}}
    edited = dataclasses.replace(newest.manifest, **change)
    (newest.path / "MANIFEST").write_bytes(encode_manifest(edited))
    link = Puppeteer()
    job = support.job_for(support.tiny_spec(corpus), run_dir, data_dir)
    assert support.train(job, link) == 0
    assert problem in link.one(Notice).message
    assert link.one(Ready).step == 2
    assert support.fingerprint(run_dir) == undisturbed


def test_when_no_checkpoint_is_whole_it_starts_over_and_says_so(
    corpus: Path, run_dir: Path, data_dir: Path, undisturbed: dict[str, str]
) -> None:
    stopped_at_three(corpus, run_dir, data_dir)
    for entry in catalog.list_checkpoints(run_dir):
        (entry.path / "optimizer.safetensors").unlink()
    link = Puppeteer()
    spec = support.tiny_spec(corpus)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    kinds = [notice.kind for notice in link.of(Notice)]
    assert kinds[-1] == "starts_over"
    assert set(kinds[:-1]) == {"checkpoint_damaged"}
    assert support.fingerprint(run_dir) == undisturbed


def stopped_at_three(corpus: Path, run_dir: Path, data_dir: Path) -> None:
    """Checkpoints of steps 1, 2 and 3, and no attempt alive."""
    link = Puppeteer(lambda event: [Stop()] if is_step(event, 3) else [])
    spec = support.tiny_spec(corpus, every_steps=1)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0


def is_step(event: Any, number: int) -> bool:
    return isinstance(event, Step) and event.step == number


class FullDisk:
    """Takes the place of the writer: fails as often as told, then writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self._failures = failures
        self._write = writer.save
        monkeypatch.setattr(writer, "save", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._failures -= 1
        if self._failures >= 0:
            raise SaveError("disk_full", "no space left for 8 GB")
        return self._write(*arguments, **options)


def test_a_save_that_fails_is_told_and_training_goes_on(
    corpus: Path,
    run_dir: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, str],
) -> None:
    FullDisk(monkeypatch, failures=2)
    link = Puppeteer()
    spec = support.tiny_spec(corpus, every_steps=1)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    failed = [(event.step, event.kind) for event in link.of(SaveFailed)]
    assert failed == [(1, "disk_full"), (2, "disk_full")]
    assert [saved.step for saved in link.of(Saved)] == [3, 4]
    assert support.fingerprint(run_dir) == undisturbed


def test_a_save_that_failed_is_tried_again_after_a_minute(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, failures=1)
    clock = HandClock()
    link = Wear(clock, 25.0)
    spec = support.tiny_spec(corpus, steps=12, every_seconds=100.0, eval_every_steps=0)
    assert loop.train(support.job_for(spec, run_dir, data_dir), link, clock) == 0
    assert [event.step for event in link.of(SaveFailed)] == [4]
    assert [saved.step for saved in link.of(Saved)] == [7, 11, 12]


def test_a_stop_with_a_full_disk_leaves_and_tells_what_is_saved(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = support.tiny_spec(corpus, every_steps=2, eval_every_steps=0)

    def reply(event: Any) -> list[Any]:
        if is_step(event, 3):
            FullDisk(monkeypatch, failures=9)
            return [Stop()]
        return []

    link = Puppeteer(reply)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.last == Stopped(2, "stop", memory_step=3)
    assert link.one(SaveFailed).reason == "stop"
    assert slots.whole(run_dir)[0].step == 3
    again = Puppeteer()
    monkeypatch.undo()
    assert support.train(support.job_for(spec, run_dir, data_dir), again) == 0
    assert again.one(Ready).step == 3


def test_what_a_full_disk_refuses_at_a_stop_is_copied_to_memory_if_it_was_not_yet(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.snapshots._PAUSES", 1e9)
    FullDisk(monkeypatch, failures=9)
    link = Puppeteer(lambda event: [Stop()] if is_step(event, 3) else [])
    assert support.train(support.job_for(support.tiny_spec(corpus), run_dir, data_dir), link) == 0
    assert link.last == Stopped(0, "stop", memory_step=3)


def test_without_a_slot_in_memory_none_is_promised(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, failures=9)
    link = Puppeteer(lambda event: [Stop()] if is_step(event, 3) else [])
    spec = support.tiny_spec(corpus, ram="off")
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.last == Stopped(0, "stop")


def test_the_final_save_waits_for_room_and_nothing_is_lost(
    job: Job, run_dir: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, str]
) -> None:
    clock = HandClock()
    FullDisk(monkeypatch, failures=3)
    link = Wear(clock, 0.0)
    begin = clock.monotonic()
    assert loop.train(job, link, clock) == 0
    assert [event.reason for event in link.of(SaveFailed)] == ["final"] * 3
    assert 180 <= clock.monotonic() - begin <= 200
    assert isinstance(link.last, Finished)
    assert support.fingerprint(run_dir) == undisturbed


def test_a_stop_is_obeyed_while_the_final_save_waits_for_room(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    FullDisk(monkeypatch, failures=9)
    link = Wear(clock, 0.0)
    link._reply = lambda event: [Stop()] if isinstance(event, SaveFailed) else []
    assert loop.train(job, link, clock) == 0
    assert link.last == Stopped(0, "stop", memory_step=support.STEPS)


class Poison:
    """Takes the place of the loss: not a number in the given calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
        from trainer.model import NanoChat

        self._calls = calls
        self._count = 0
        loss = NanoChat.loss

        def poisoned(model: Any, ids: Any, targets: Any, reduction: str = "mean") -> Any:
            found = loss(model, ids, targets, reduction)
            if not torch.is_grad_enabled():
                return found
            self._count += 1
            return found * math.nan if self._count in self._calls else found

        monkeypatch.setattr(NanoChat, "loss", poisoned)


def test_a_loss_that_is_not_finite_is_not_applied(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second step is left out: weights and optimizer stay those of the first."""
    Poison(monkeypatch, support.MICRO_BATCHES + 2)
    spec = support.tiny_spec(corpus, every_steps=1, eval_every_steps=0)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert [math.isfinite(step.loss) for step in link.of(Step)] == [True, False, True, True]
    notice = link.one(Notice)
    assert (notice.kind, notice.severity) == ("loss_not_finite", "error")
    assert "step 2" in notice.message
    _, third, second, first = entries(run_dir)
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert (second.path / file).read_bytes() == (first.path / file).read_bytes()
        assert (third.path / file).read_bytes() != (first.path / file).read_bytes()
    assert isinstance(link.last, Finished)


def entries(run_dir: Path) -> list[catalog.Entry]:
    return catalog.list_checkpoints(run_dir)


def test_what_a_dead_attempt_left_half_written_is_swept_away(
    job: Job, spec: RunSpec, run_dir: Path
) -> None:
    rest = run_dir / "checkpoints" / "tmp-00000007-000000-0123abcd"
    rest.mkdir(parents=True)
    (rest / "model.safetensors").write_bytes(b"half")
    assert support.train(support.job_for(spec, run_dir, Path(job.data_dir)), Puppeteer()) == 0
    assert not rest.exists()
