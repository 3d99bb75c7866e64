"""What is pinned at the first start, and what a later start does with a changed world."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer import environment, record, sizing
from trainer.checkpoint.lease import Lease, raise_fence
from trainer.contract.job import Job
from trainer.contract.messages import (
    Evaluated,
    Failed,
    Finished,
    Notice,
    Phase,
    Ready,
    Saved,
    SaveFailed,
    Step,
    Stop,
    Stopped,
)
from trainer.contract.spec import RunSpec


def stop_after(job: Job, step: int) -> None:
    """Bring the run to ``step`` and leave it there."""
    link = Puppeteer(
        lambda event: [Stop()] if isinstance(event, Step) and event.step == step else []
    )
    assert support.train(job, link) == 0
    assert link.last == Stopped(step, "stop")


def refused(job: Job, code: int) -> Failed:
    """The attempt's last word, which must be a refusal with this exit code."""
    link = Puppeteer()
    assert support.train(job, link) == code
    assert isinstance(link.last, Failed)
    assert link.of(Step) == []
    return link.last


def test_the_first_start_pins_spec_environment_and_dataset(job: Job, run_dir: Path) -> None:
    link = Puppeteer()
    assert support.train(job, link) == 0
    pinned = record.read(run_dir)
    assert pinned is not None
    assert pinned.spec == job.spec.to_dict()
    assert pinned.spec_digest == job.spec.digest()
    assert pinned.environment == link.one(Ready).environment
    assert (Path(pinned.data_dir) / pinned.dataset).is_dir()


def test_ready_says_what_the_run_is(job: Job) -> None:
    link = Puppeteer()
    support.train(job, link)
    ready = link.one(Ready)
    assert (ready.step, ready.steps, ready.checkpoint) == (0, support.STEPS, "")
    assert ready.parameters == sizing.parameters(job.spec.model)
    assert ready.flops_per_token == sizing.flops_per_token(job.spec.model)
    assert ready.peak_flops > 0
    assert ready.environment["threads"] == 1


def test_the_phases_come_in_order_and_preparation_shows_fractions(
    spec: RunSpec, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.announce._EVERY_SECONDS", 0.0)
    link = Puppeteer()
    support.train(support.job_for(spec, run_dir, tmp_path / "fresh"), link)
    phases = [event.phase for event in link.of(Phase)]
    firsts = list(dict.fromkeys(phases))
    assert firsts == ["start", "data", "load", "eval", "train", "checkpoint", "done"]
    prepared = [event.fraction for event in link.of(Phase) if event.phase == "data"]
    assert max(prepared) > 0.0


def test_another_spec_is_refused(job: Job, corpus: Path, run_dir: Path, data_dir: Path) -> None:
    stop_after(job, 1)
    other = support.tiny_spec(corpus, lr_scale=0.5)
    failed = refused(support.job_for(other, run_dir, data_dir), 78)
    assert (failed.kind, failed.retry) == ("spec_changed", False)
    assert "train.lr_scale: 1.0 -> 0.5" in failed.message


def test_other_saving_habits_are_taken_over(
    job: Job, corpus: Path, run_dir: Path, data_dir: Path, undisturbed: dict[str, str]
) -> None:
    stop_after(job, 1)
    link = Puppeteer()
    other = support.tiny_spec(corpus, every_steps=1)
    assert support.train(support.job_for(other, run_dir, data_dir), link) == 0
    assert [saved.step for saved in link.of(Saved)] == [2, 3, 4]
    assert support.fingerprint(run_dir) == undisturbed


def test_a_record_that_cannot_be_read_is_refused(job: Job, run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "run.json").write_text("{")
    failed = refused(job, 1)
    assert (failed.kind, failed.retry) == ("record", False)


def test_a_changed_environment_is_noticed_once_and_named(
    job: Job, spec: RunSpec, run_dir: Path, data_dir: Path
) -> None:
    stop_after(job, 1)
    pretend(run_dir, torch="1.0.0", numpy="1.0")
    link = Puppeteer()
    link.commands.append(Stop())
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    notice = link.one(Notice)
    assert notice.kind == "environment_changed"
    assert "PyTorch: 1.0.0 -> " in notice.message
    assert "NumPy: 1.0 -> " in notice.message
    again = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), again) == 0
    assert again.of(Notice) == []
    pinned = record.read(run_dir)
    assert pinned is not None
    assert pinned.former[0]["torch"] == "1.0.0"


def pretend(run_dir: Path, **environment: Any) -> None:
    """Let the run have been started elsewhere."""
    path = run_dir / "run.json"
    plain = json.loads(path.read_text())
    plain["environment"] |= environment
    path.write_text(json.dumps(plain))


def test_the_threads_of_the_first_start_stay_on_a_machine_with_other_cores(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = support.tiny_spec(corpus, threads=0)
    monkeypatch.setattr(environment, "available_cores", lambda: 2)
    stop_after(support.job_for(spec, run_dir, data_dir), 1)
    monkeypatch.setattr(environment, "available_cores", lambda: 7)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.one(Ready).environment["threads"] == 2
    assert link.of(Notice) == []


def test_a_run_that_somebody_works_on_is_left_alone(job: Job, run_dir: Path) -> None:
    with Lease.take(run_dir, 1):
        failed = refused(job, 75)
    assert (failed.kind, failed.retry) == ("locked", True)
    assert str(os.getpid()) in failed.message
    assert not (run_dir / "run.json").exists()


def test_an_attempt_that_was_overtaken_is_refused(job: Job, run_dir: Path) -> None:
    raise_fence(run_dir, job.attempt + 1)
    failed = refused(job, 77)
    assert (failed.kind, failed.retry) == ("fenced", False)
    assert not (run_dir / "run.json").exists()


def test_an_attempt_overtaken_while_it_trains_writes_nothing_more(job: Job, run_dir: Path) -> None:
    class Overtaken(Puppeteer):
        def poll(self) -> Any:
            if len(self.of(Step)) == 1:
                raise_fence(run_dir, job.attempt + 1)
            return Stop() if len(self.of(Step)) == 2 else None

    link = Overtaken()
    assert support.train(job, link) == 77
    assert (link.last.kind, link.last.retry) == ("fenced", False)
    assert link.one(SaveFailed).kind == "fenced"
    assert link.of(Saved) == []


def test_the_lock_is_free_when_the_last_word_is_said(job: Job, run_dir: Path) -> None:
    taken: list[Lease] = []

    class Successor(Puppeteer):
        def send(self, event: Any) -> None:
            super().send(event)
            if isinstance(event, Finished | Stopped | Failed):
                taken.append(Lease.take(run_dir, job.attempt + 1, wait_seconds=0.0))

    assert support.train(job, Successor()) == 0
    taken[0].release()


def test_a_corpus_that_is_missing_is_named(tmp_path: Path, run_dir: Path) -> None:
    spec = support.tiny_spec(tmp_path / "nowhere")
    failed = refused(support.job_for(spec, run_dir, tmp_path / "data"), 1)
    assert failed.kind == "data"
    assert str(tmp_path / "nowhere") in failed.message


def test_prepared_data_that_is_gone_is_prepared_anew(
    job: Job,
    spec: RunSpec,
    run_dir: Path,
    data_dir: Path,
    tmp_path: Path,
    undisturbed: dict[str, str],
) -> None:
    stop_after(job, 2)
    elsewhere = support.job_for(spec, run_dir, tmp_path / "moved")
    assert support.train(elsewhere, Puppeteer()) == 0
    assert support.fingerprint(run_dir) == undisturbed


def test_a_corpus_that_has_changed_since_does_not_matter_while_its_dataset_is_there(
    tmp_path: Path, run_dir: Path
) -> None:
    corpus, data_dir = support.write_corpus(tmp_path / "own"), tmp_path / "data"
    spec = support.tiny_spec(corpus)
    stop_after(support.job_for(spec, run_dir, data_dir), 1)
    support.write_corpus(corpus, seed=9)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.one(Ready).step == 1


def test_another_corpus_under_the_same_name_is_refused(tmp_path: Path, run_dir: Path) -> None:
    corpus, data_dir = support.write_corpus(tmp_path / "own"), tmp_path / "data"
    spec = support.tiny_spec(corpus)
    stop_after(support.job_for(spec, run_dir, data_dir), 1)
    shutil.rmtree(data_dir)
    support.write_corpus(corpus, seed=9)
    failed = refused(support.job_for(spec, run_dir, data_dir), 1)
    assert (failed.kind, failed.retry) == ("dataset_changed", False)
    assert "was started on dataset" in failed.message


def test_a_run_at_its_horizon_finishes_again_with_the_same_figures(
    job: Job, spec: RunSpec, run_dir: Path, data_dir: Path
) -> None:
    first, again = Puppeteer(), Puppeteer()
    assert support.train(job, first) == 0
    assert support.train(support.job_for(spec, run_dir, data_dir), again) == 0
    assert again.last == first.last
    assert again.of(Step) == []
    assert [event.step for event in again.of(Evaluated)] == [support.STEPS]


def test_an_unexpected_error_is_the_last_word_and_its_place_is_printed(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_arguments: Any, **_options: Any) -> Any:
        raise ZeroDivisionError("the device divided by zero")

    monkeypatch.setattr("trainer.model.NanoChat.loss", broken)
    link = Puppeteer()
    assert support.train(job, link) == 1
    assert (link.last.kind, link.last.retry) == ("error", True)
    assert "ZeroDivisionError: the device divided by zero" in link.last.message
    assert "Traceback" in capsys.readouterr().err


def test_memory_that_is_full_is_explained(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_arguments: Any, **_options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")

    monkeypatch.setattr("trainer.model.NanoChat.loss", full)
    link = Puppeteer()
    assert support.train(job, link) == 1
    assert link.last.kind == "out_of_memory"
    assert "leaner train.precision" in link.last.message


def test_an_automatic_recipe_is_settled_once_and_pinned(
    spec: RunSpec, run_dir: Path, data_dir: Path
) -> None:
    auto = dataclasses.replace(spec, train=dataclasses.replace(spec.train, precision="auto"))
    first = Puppeteer(lambda event: [Stop()] if isinstance(event, Step) else [])
    assert support.train(support.job_for(auto, run_dir, data_dir), first) == 0
    (told,) = [notice for notice in first.of(Notice) if notice.kind == "recipe_settled"]
    assert "bf16" in told.message
    pinned = record.read(run_dir)
    assert pinned is not None
    assert pinned.precision == "bf16"
    again = Puppeteer()
    assert support.train(support.job_for(auto, run_dir, data_dir), again) == 0
    assert isinstance(again.last, Finished)
    assert not [notice for notice in again.of(Notice) if notice.kind == "recipe_settled"]


def test_a_recipe_that_cannot_do_what_the_spec_asks_is_refused_in_words(
    spec: RunSpec, run_dir: Path, data_dir: Path
) -> None:
    wrong = dataclasses.replace(spec, train=dataclasses.replace(spec.train, optimizer="adamw8"))
    failed = refused(support.job_for(wrong, run_dir, data_dir), 1)
    assert failed.kind == "state"
    assert not failed.retry
    assert "adamw8" in failed.message
