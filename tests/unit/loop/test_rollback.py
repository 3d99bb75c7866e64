"""Divergence: the run goes back, leaves the bad batches out, and stays exact."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer.checkpoint import retention
from trainer.checkpoint.disk import RealDisk
from trainer.contract.messages import (
    Evaluated,
    Failed,
    Finished,
    Notice,
    Ready,
    RolledBack,
    Saved,
    SaveFailed,
    Step,
    Stop,
    Stopped,
)
from trainer.contract.spec import GuardSpec, RunSpec
from trainer.data import Loader
from trainer.model import NanoChat


class Poison:
    """Spoils the loss of some global batches, whenever they are met; remembers all that were."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *batches: int, factor: float = math.nan
    ) -> None:
        self.met: list[int] = []
        batch, loss = Loader.batch, NanoChat.loss

        def watched(loader: Any, index: int) -> Any:
            if index % support.MICRO_BATCHES == 0:
                self.met.append(index // support.MICRO_BATCHES)
            return batch(loader, index)

        def spoilt(model: Any, ids: Any, targets: Any, *rest: Any, **options: Any) -> Any:
            found = loss(model, ids, targets, *rest, **options)
            bad = model.training and self.met and self.met[-1] in batches
            return found * factor if bad else found

        monkeypatch.setattr(Loader, "batch", watched)
        monkeypatch.setattr(NanoChat, "loss", spoilt)


class Death(BaseException):
    """The process is gone: nothing of ours runs any more."""


@pytest.fixture
def spec(corpus: Path) -> RunSpec:
    return support.tiny_spec(corpus, steps=10, every_steps=2, eval_every_steps=0)


@pytest.fixture
def without_them(
    spec: RunSpec, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The bytes of a run whose data never held the batches 5, 6 and 7."""
    batch = Loader.batch
    first = 5 * support.MICRO_BATCHES
    gap = 3 * support.MICRO_BATCHES
    with monkeypatch.context() as patch:
        patch.setattr(
            Loader,
            "batch",
            lambda loader, index: batch(loader, index + (gap if index >= first else 0)),
        )
        job = support.job_for(spec, tmp_path / "without", data_dir)
        assert support.train(job) == 0
    return support.fingerprint(tmp_path / "without")


def test_three_bad_steps_go_back_and_their_batches_are_left_out(
    spec: RunSpec,
    run_dir: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_them: dict[str, str],
) -> None:
    poison = Poison(monkeypatch, 5, 6, 7)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert poison.met == [0, 1, 2, 3, 4, 5, 6, 7, 4, 8, 9, 10, 11, 12]
    assert [step.step for step in link.of(Step)] == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10]
    back = link.one(RolledBack)
    assert (back.from_step, back.to_step, back.times) == (8, 4, 1)
    assert back.skipped == [[5, 8]]
    assert "loss nan" in back.why
    assert [notice.kind for notice in link.of(Notice)] == ["loss_not_finite"] * 3
    saved = [(event.step, event.reason) for event in link.of(Saved)]
    assert saved[:4] == [(2, "schedule"), (4, "schedule"), (6, "schedule"), (4, "rollback")]
    assert support.fingerprint(run_dir) == without_them


def test_the_epoch_counts_what_was_left_out(
    spec: RunSpec, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, 5, 6, 7)
    link = Puppeteer()
    support.train(support.job_for(spec, run_dir, data_dir), link)
    steps = link.of(Step)
    assert steps[-1].epoch / steps[0].epoch == pytest.approx(13)
    assert steps[-1].tokens == 10 * spec.train.batch_tokens


def test_what_came_after_the_good_checkpoint_is_set_aside_and_later_deleted(
    spec: RunSpec, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, 5, 6, 7)
    seen: list[list[str]] = []

    def look(event: Any) -> list[Any]:
        if isinstance(event, RolledBack):
            seen.append(sorted(path.name for path in (run_dir / "checkpoints").iterdir()))
        return []

    link = Puppeteer(look)
    support.train(support.job_for(spec, run_dir, data_dir), link)
    back = link.one(RolledBack)
    assert [name[:12] for name in back.undone] == ["gen-00000006", "gen-00000004"]
    assert [name[:12] for name in seen[0]] == [
        "gen-00000002",
        "gen-00000004",
        "undone-00000",
        "undone-00000",
    ]
    assert seen[0][1] == back.checkpoint
    retention.retain(run_dir, retention.Policy(2, 0, 0))
    assert not list((run_dir / "checkpoints").glob("undone-*"))


@pytest.mark.parametrize("precision", ["bf16-8bit", "int8", "qlora-4bit"])
def test_every_kind_of_recipe_goes_back_exactly(
    precision: str,
    corpus: Path,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted in the middle of the trouble or not, and from a fresh start: the same bytes."""
    guard = GuardSpec(max_bad_steps=2)
    spec = support.tiny_spec(
        corpus, steps=6, precision=precision, every_steps=2, eval_every_steps=0, guard=guard
    )
    Poison(monkeypatch, 3, 4)
    for name, stop in (("straight", 99), ("halted", 4), ("unsaved", 99)):
        halted = Puppeteer(
            lambda event, stop=stop: (
                [Stop()]  # type: ignore[misc] # mypy knows no default here
                if isinstance(event, Step) and event.step == stop
                else []
            )
        )
        saves = {"every_steps": 0} if name == "unsaved" else {}
        own = dataclasses.replace(spec, checkpoint=dataclasses.replace(spec.checkpoint, **saves))
        resumed = Puppeteer()
        for person in (halted, resumed):
            assert support.train(support.job_for(own, tmp_path / name, data_dir), person) == 0
        back = [*halted.of(RolledBack), *resumed.of(RolledBack)]
        assert [one.skipped for one in back] == [[[3, 5]]]
    straight = support.fingerprint(tmp_path / "straight")
    assert support.fingerprint(tmp_path / "halted") == straight
    assert support.fingerprint(tmp_path / "unsaved") == straight


@pytest.mark.parametrize("stop", range(1, 14))
def test_stopped_after_any_step_it_ends_with_the_same_bytes(
    stop: int,
    spec: RunSpec,
    run_dir: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_them: dict[str, str],
) -> None:
    Poison(monkeypatch, 5, 6, 7)
    stopped = Puppeteer(
        lambda event: [Stop()] if isinstance(event, Step) and len(stopped.of(Step)) == stop else []
    )
    assert support.train(support.job_for(spec, run_dir, data_dir), stopped) == 0
    assert isinstance(stopped.last, Stopped)
    resumed = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), resumed) == 0
    assert len([*stopped.of(RolledBack), *resumed.of(RolledBack)]) == 1
    assert support.fingerprint(run_dir) == without_them


def test_killed_before_any_operation_on_the_disk_it_ends_with_the_same_bytes(
    spec: RunSpec,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_them: dict[str, str],
) -> None:
    """From the moment that the third bad step is done until the run trains again."""
    Poison(monkeypatch, 5, 6, 7)
    deaths = 0
    while True:
        run_dir = tmp_path / f"killed-{deaths}"
        with monkeypatch.context() as patch:
            reaper = Reaper(patch, deaths)
            link = Puppeteer(reaper.hear)
            try:
                support.train(support.job_for(spec, run_dir, data_dir), link)
            except Death:
                pass
            else:
                break
        deaths += 1
        assert support.train(support.job_for(spec, run_dir, data_dir), Puppeteer()) == 0
        assert support.fingerprint(run_dir) == without_them
        kinds = {path.name.split("-")[0] for path in (run_dir / "checkpoints").iterdir()}
        assert kinds <= {"gen", "undone"}
    assert deaths > 8


class Reaper:
    """Kills before the n-th change of the disk after the eighth step, if the run is still back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
        self._left = spare
        self._armed = False
        for kind in ("mkdir", "fsync", "rename", "fsync_dir"):
            monkeypatch.setattr(RealDisk, kind, self._deadly(getattr(RealDisk, kind)))

    def hear(self, event: Any) -> list[Any]:
        if isinstance(event, Step):
            self._armed = event.step == 8 and not self._armed
        return []

    def _deadly(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self._armed:
                if self._left == 0:
                    raise Death
                self._left -= 1
            return action(*arguments)

        return call


def test_a_bad_streak_survives_an_interruption_in_the_middle(
    spec: RunSpec, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, 5, 6, 7)
    stopped = Puppeteer(
        lambda event: [Stop()] if isinstance(event, Step) and event.step == 7 else []
    )
    support.train(support.job_for(spec, run_dir, data_dir), stopped)
    resumed = Puppeteer()
    support.train(support.job_for(spec, run_dir, data_dir), resumed)
    assert resumed.one(Ready).step == 7
    assert resumed.one(RolledBack).skipped == [[5, 8]]


def test_before_the_first_checkpoint_it_begins_again_without_them(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = support.tiny_spec(corpus, steps=4, eval_every_steps=0)
    poison = Poison(monkeypatch, 1, 2, 3)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert poison.met == [0, 1, 2, 3, 0, 4, 5, 6]
    assert link.one(RolledBack).to_step == 0
    assert [event.step for event in link.of(Saved)] == [0, 4]
    assert [event.step for event in link.of(Evaluated)] == [0, 4]
    assert link.of(Notice)[-1].kind == "begins_again"
    assert link.last.bits_per_byte_before == link.of(Evaluated)[0].bits_per_byte


def test_a_damaged_checkpoint_on_the_way_back_is_named_and_an_older_one_serves(
    spec: RunSpec,
    run_dir: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_them: dict[str, str],
) -> None:
    Poison(monkeypatch, 5, 6, 7)

    def spoil(event: Any) -> list[Any]:
        if isinstance(event, Saved) and event.step == 4 and event.reason == "schedule":
            (run_dir / "checkpoints" / event.name / "model.safetensors").write_bytes(b"rust")
        return []

    link = Puppeteer(spoil)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.one(RolledBack).to_step == 2
    assert "checkpoint_damaged" in [notice.kind for notice in link.of(Notice)]
    assert support.fingerprint(run_dir) == without_them


def test_a_second_divergence_at_the_same_place_goes_a_generation_further_back(
    spec: RunSpec, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The road to the place is left out too, as far as there are checkpoints to begin it from."""
    poison = Poison(monkeypatch, 5, 6, 7, 8, 9, 10)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    first, second = link.of(RolledBack)
    assert (first.to_step, second.to_step) == (4, 2)
    assert second.times == 2
    assert second.skipped == [[2, 11]]
    assert poison.met[-8:] == [11, 12, 13, 14, 15, 16, 17, 18]
    assert isinstance(link.last, Finished)


def test_when_going_back_does_not_help_it_gives_up_and_says_what_to_do(
    spec: RunSpec, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Poison(monkeypatch, *range(5, 1000))
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 1
    assert isinstance(link.last, Failed)
    assert (link.last.kind, link.last.retry) == ("diverged", False)
    assert "after going back 3 times" in link.last.message
    assert [back.times for back in link.of(RolledBack)] == [1, 2, 3]
    # the next attempt comes to the same end, and does not try it all over again
    again = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), again) == 1
    assert again.of(RolledBack) == []


def test_a_run_that_may_not_go_back_gives_up_at_once(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = GuardSpec(max_bad_steps=2, max_rollbacks=0)
    spec = support.tiny_spec(corpus, guard=guard, every_steps=1)
    Poison(monkeypatch, 1, 2)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 1
    assert link.last.kind == "diverged"
    assert link.of(RolledBack) == []


def test_a_spike_of_the_loss_goes_back_too(
    corpus: Path,
    run_dir: Path,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = GuardSpec(max_bad_steps=1, spike_window=8)
    spec = support.tiny_spec(corpus, steps=12, every_steps=3, eval_every_steps=0, guard=guard)
    poison = Poison(monkeypatch, 7, factor=10.0)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    back = link.one(RolledBack)
    assert (back.from_step, back.to_step, back.skipped) == (8, 6, [[7, 8]])
    assert "is usual" in back.why
    assert link.one(Notice).kind == "loss_spike"
    assert 7 not in poison.met[9:]
    stopped = Puppeteer(
        lambda event: [Stop()] if isinstance(event, Step) and event.step == 5 else []
    )
    for person in (stopped, Puppeteer()):
        assert support.train(support.job_for(spec, tmp_path / "halted", data_dir), person) == 0
    assert support.fingerprint(tmp_path / "halted") == support.fingerprint(run_dir)


def test_a_full_disk_does_not_stop_it_from_going_back(
    spec: RunSpec,
    run_dir: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_them: dict[str, str],
) -> None:
    from trainer.checkpoint import writer
    from trainer.checkpoint.writer import SaveError

    Poison(monkeypatch, 5, 6, 7)
    write = writer.save

    def full(*arguments: Any, **options: Any) -> Any:
        if options["reason"] == "rollback":
            raise SaveError("disk_full", "no space left for 8 GB")
        return write(*arguments, **options)

    monkeypatch.setattr(writer, "save", full)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert link.one(SaveFailed).reason == "rollback"
    assert link.one(RolledBack).checkpoint == ""
    assert [event.step for event in link.of(Saved)] == [2, 4, 6, 6, 8, 10]
    assert support.fingerprint(run_dir) == without_them
