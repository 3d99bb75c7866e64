"""When memory runs out, the same step is computed in smaller portions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer import record
from trainer.checkpoint import catalog
from trainer.contract.messages import Notice, Ready, Step, Stop
from trainer.contract.spec import GuardSpec, RunSpec
from trainer.model import NanoChat
from trainer.portion import KEY, is_out_of_memory

CPU_WORDS = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 1125899906842624 bytes. Error code 12 (Cannot allocate memory)"
)
FULL = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_WORDS), MemoryError()]


class SmallMemory:
    """Takes the place of the loss: more than so many sequences at once are too many.

    The forward pass fails, or the backward pass does, when half of the gradients are there.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        room: int,
        error: BaseException = FULL[0],
        *,
        in_backward: bool = False,
    ) -> None:
        self.refused = 0
        self.seen: list[int] = []
        loss = NanoChat.loss

        def limited(model: Any, ids: Any, targets: Any, *rest: Any, **options: Any) -> Any:
            if not torch.is_grad_enabled():
                return loss(model, ids, targets, *rest, **options)
            self.seen.append(len(ids))
            too_large = len(ids) > room
            if too_large and not in_backward:
                self.refused += 1
                raise error
            found = loss(model, ids, targets, *rest, **options)
            if too_large:
                hidden = model.lm_head.weight.register_post_accumulate_grad_hook(burst)
                self._hooks.append(hidden)
            return found

        def burst(weight: Any) -> None:
            self.refused += 1
            while self._hooks:
                self._hooks.pop().remove()
            raise error

        self._hooks: list[Any] = []
        monkeypatch.setattr(NanoChat, "loss", limited)


def spec_of(corpus: Path, **changes: Any) -> RunSpec:
    """Micro-batches of six sequences, two a step, each computed once."""
    alone = GuardSpec(sentinel_ratio=0.0)
    options = {
        "guard": alone,
        "batch_tokens": 12 * 32,
        "micro_batch": 6,
        "steps": 3,
        "gradient_clip": 0.0,
    }
    return support.tiny_spec(corpus, **{**options, **changes})


def figures(link: Puppeteer) -> list[float]:
    return [figure for step in link.of(Step) for figure in (step.loss, step.gradient_norm)]


@pytest.mark.parametrize("in_backward", [False, True])
@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_the_step_is_the_same_up_to_rounding(
    error: BaseException,
    in_backward: bool,
    corpus: Path,
    run_dir: Path,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_of(corpus, eval_every_steps=0)
    with_room = Puppeteer()
    support.train(support.job_for(spec, tmp_path / "room", data_dir), with_room)
    memory = SmallMemory(monkeypatch, 4, error, in_backward=in_backward)
    link = Puppeteer()
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert memory.refused == 1
    assert memory.seen == [6, *[3, 3] * 2 * spec.train.steps]
    assert figures(link) == pytest.approx(figures(with_room), rel=1e-4)
    notice = link.one(Notice)
    assert notice.kind == "micro_batch_halved"
    assert "3 at a time instead of 6" in notice.message


def test_an_odd_rest_has_its_proper_weight(
    corpus: Path,
    run_dir: Path,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_of(corpus, batch_tokens=5 * 32, micro_batch=5, steps=1)
    with_room, link = Puppeteer(), Puppeteer()
    support.train(support.job_for(spec, tmp_path / "room", data_dir), with_room)
    memory = SmallMemory(monkeypatch, 2)
    assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
    assert memory.seen == [5, 3, 2, 2, 1]
    assert figures(link) == pytest.approx(figures(with_room), rel=1e-4)


def test_it_is_remembered_in_the_record_and_in_each_checkpoint(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(corpus, eval_every_steps=0)
    SmallMemory(monkeypatch, 2)
    first = Puppeteer(lambda event: [Stop()] if isinstance(event, Step) else [])
    support.train(support.job_for(spec, run_dir, data_dir), first)
    assert KEY not in first.one(Ready).environment
    pinned = record.read(run_dir)
    assert pinned is not None
    assert pinned.environment[KEY] == 2
    assert catalog.list_checkpoints(run_dir)[0].manifest.meta["environment"][KEY] == 2
    with monkeypatch.context() as patch:
        again = SmallMemory(patch, 2)
        link = Puppeteer()
        assert support.train(support.job_for(spec, run_dir, data_dir), link) == 0
        assert again.refused == 0
    assert link.one(Ready).environment[KEY] == 2
    assert link.of(Notice) == []


def test_interrupted_it_ends_with_the_bytes_of_a_run_with_as_little_memory(
    corpus: Path,
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_of(corpus)
    SmallMemory(monkeypatch, 3)
    for stop in (99, 1, 2):
        run_dir = tmp_path / f"stopped-{stop}"
        halted = Puppeteer(
            lambda event, stop=stop: (
                [Stop()]  # type: ignore[misc] # mypy knows no default here
                if isinstance(event, Step) and event.step == stop
                else []
            )
        )
        support.train(support.job_for(spec, run_dir, data_dir), halted)
        support.train(support.job_for(spec, run_dir, data_dir), Puppeteer())
    prints = [support.fingerprint(path) for path in sorted(tmp_path.glob("stopped-*"))]
    assert prints[0] == prints[1] == prints[2]


def test_when_one_sequence_is_too_much_it_says_so(
    corpus: Path, run_dir: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SmallMemory(monkeypatch, 0)
    link = Puppeteer()
    assert support.train(support.job_for(spec_of(corpus), run_dir, data_dir), link) == 1
    assert memory.seen == [6, 3, 2, 1]
    assert (link.last.kind, link.last.retry) == ("out_of_memory", True)
    assert "not even one sequence of 32 tokens" in link.last.message


def test_any_other_failure_is_none_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
