"""An interrupted run and an undisturbed one end with the same bytes."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer.contract.messages import Command, Finished, Ready, Step, Stopped
from trainer.contract.spec import RunSpec
from trainer.precision import RECIPES

ROOT = Path(__file__).parents[3]


def asked(spec: RunSpec, run_dir: Path, data_dir: Path) -> int:
    """How often an undisturbed run looks for commands."""
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    return link.polls


def test_stopped_at_every_boundary_it_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, data_dir: Path
) -> None:
    spec = support.tiny_spec(corpus, steps=2, eval_every_steps=1)
    boundaries = asked(spec, tmp_path / "straight", data_dir)
    assert boundaries > 2 * support.MICRO_BATCHES
    straight = support.fingerprint(tmp_path / "straight")
    for boundary in range(1, boundaries + 1):
        run_dir = tmp_path / f"at-{boundary}"
        stopped = Puppeteer(stop_at_poll=boundary)
        assert support.train(support.job_for(spec, run_dir, data_dir), stopped) == 0
        if stopped.polls < boundary:
            # How often it looks hangs on the time a little; this one was done before.
            assert isinstance(stopped.last, Finished)
            continue
        done = len(stopped.of(Step))
        assert stopped.last == Stopped(done, "stop")
        resumed = Puppeteer()
        assert support.train(support.job_for(spec, run_dir, data_dir), resumed) == 0
        assert resumed.one(Ready).step == done
        assert support.fingerprint(run_dir) == straight


@pytest.mark.parametrize("precision", RECIPES)
def test_interrupted_again_and_again_it_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, data_dir: Path, precision: str
) -> None:
    spec = support.tiny_spec(corpus, precision=precision, steps=8, eval_every_steps=3)
    polls = asked(spec, tmp_path / "straight", data_dir)
    dice = random.Random(precision)
    attempts, end = 0, None
    while not isinstance(end, Finished):
        link = Puppeteer(stop_at_poll=dice.randint(2, polls // 2))
        job = support.job_for(spec, tmp_path / "interrupted", data_dir)
        assert support.train(job, link) == 0
        end = link.last
        attempts += 1
    assert attempts > 2
    straight = support.fingerprint(tmp_path / "straight")
    assert support.fingerprint(tmp_path / "interrupted") == straight


class PowerCut(BaseException):
    """Ends an attempt as a kill does: nothing is said, nothing is saved."""


class Doomed(Puppeteer):
    """The power fails when the trainer looks for commands for the n-th time."""

    def __init__(self, at_poll: int) -> None:
        super().__init__()
        self._at_poll = at_poll

    def poll(self) -> Command | None:
        command = super().poll()
        if self.polls == self._at_poll:
            raise PowerCut
        return command


@pytest.mark.parametrize("precision", RECIPES)
def test_killed_at_each_micro_batch_it_ends_with_the_same_bytes(
    corpus: Path, tmp_path: Path, data_dir: Path, precision: str
) -> None:
    """Each life lasts one micro-batch longer and goes on from what the one before had saved."""
    spec = support.tiny_spec(
        corpus, precision=precision, steps=4, every_steps=1, eval_every_steps=0, warmdown_ratio=0.5
    )
    support.train(support.job_for(spec, tmp_path / "straight", data_dir))
    run_dir = tmp_path / "killed"
    lives, starts = 0, []
    while True:
        lives += 1
        link = Doomed(at_poll=lives + 1)
        with contextlib.suppress(PowerCut):
            assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
        starts += [ready.step for ready in link.of(Ready)]
        if link.events and isinstance(link.last, Finished):
            break
        assert lives < 60
    assert set(starts) >= {0, 1, 2}
    assert lives > support.MICRO_BATCHES
    assert support.fingerprint(run_dir) == support.fingerprint(tmp_path / "straight")


def test_the_figures_at_the_end_are_those_of_an_undisturbed_run(
    spec: RunSpec, tmp_path: Path, data_dir: Path
) -> None:
    straight, halted, resumed = Puppeteer(), Puppeteer(stop_at_poll=14), Puppeteer()
    support.train(support.job_for(spec, tmp_path / "straight", data_dir), straight)
    support.train(support.job_for(spec, tmp_path / "halted", data_dir), halted)
    support.train(support.job_for(spec, tmp_path / "halted", data_dir), resumed)
    mine, theirs = straight.one(Finished), resumed.one(Finished)
    assert mine.bits_per_byte == theirs.bits_per_byte
    assert mine.bits_per_byte_before == theirs.bits_per_byte_before
    assert mine.bits_per_byte < mine.bits_per_byte_before
    assert mine.sample == theirs.sample
    losses = {step.step: step.loss for step in (*halted.of(Step), *resumed.of(Step))}
    assert losses == {step.step: step.loss for step in straight.of(Step)}


def test_the_scale_of_the_gradients_does_not_depend_on_the_micro_batches(
    corpus: Path, tmp_path: Path, data_dir: Path
) -> None:
    """One large micro-batch and three small ones mean the same step, up to rounding."""
    norms = []
    for micro_batch in (2, 6):
        spec = support.tiny_spec(corpus, micro_batch=micro_batch, steps=1, gradient_clip=0.0)
        link = Puppeteer()
        support.train(support.job_for(spec, tmp_path / str(micro_batch), data_dir), link)
        norms.append((link.one(Step).gradient_norm, link.one(Step).loss))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize(
    "precision",
    [pytest.param(name, marks=() if name == "fp32" else pytest.mark.long) for name in RECIPES],
)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    corpus: Path, data_dir: Path, tmp_path: Path, precision: str
) -> None:
    """Children of one process that has PyTorch loaded are killed; the last one may live."""
    spec = support.tiny_spec(
        corpus, precision=precision, steps=12, every_steps=1, eval_every_steps=5
    )
    straight = Puppeteer()
    support.train(support.job_for(spec, tmp_path / "straight", data_dir), straight)
    dice = random.Random(5)
    run_dir = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.loop.nursery"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        kills, lives = 0, 0
        while lives < 40:
            lives += 1
            seconds = dice.uniform(0.0, 0.15) if kills < 8 else 60.0
            job = support.job_for(spec, run_dir, data_dir)
            nursery.stdin.write(support.order(job, seconds))
            nursery.stdin.flush()
            how = nursery.stdout.readline().strip()
            if how == "0":
                break
            assert how == str(-signal.SIGKILL)
            kills += 1
        nursery.stdin.close()
    assert kills >= 4
    assert support.fingerprint(run_dir) == support.fingerprint(tmp_path / "straight")
