"""The sentinel: hardware that makes mistakes is caught in the act, and costs no bit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.loop import support
from tests.unit.loop.support import Puppeteer
from trainer.contract.messages import Failed, Finished, Notice, Step
from trainer.contract.spec import GuardSpec, RunSpec, from_dict
from trainer.contract.toml import InvalidFileError
from trainer.model import NanoChat
from trainer.sentinel import digest, interval_steps

ALWAYS = GuardSpec(sentinel_ratio=1.0)
NEVER = GuardSpec(sentinel_ratio=0.0)

Train = Callable[..., tuple[dict[str, str], Puppeteer]]


@pytest.fixture
def trained(corpus: Path, data_dir: Path, tmp_path: Path) -> Train:
    """One whole run: what it ended with, and what it said."""

    def run(name: str, **changes: Any) -> tuple[dict[str, str], Puppeteer]:
        link = Puppeteer()
        spec = support.tiny_spec(corpus, eval_every_steps=0, **changes)
        assert support.train(support.job_for(spec, tmp_path / name, data_dir), link) == 0
        return support.fingerprint(tmp_path / name), link

    return run


def err(monkeypatch: pytest.MonkeyPatch, calls: Collection[int]) -> None:
    """Let the processor compute a training loss a little wrong, at these calls of its life."""
    loss = NanoChat.loss
    count = 0

    def wrong(model: Any, ids: Any, targets: Any, *rest: Any, **options: Any) -> Any:
        nonlocal count
        found = loss(model, ids, targets, *rest, **options)
        if not torch.is_grad_enabled():
            return found
        count += 1
        return found * (1 + count * 1e-6) if count in calls else found

    monkeypatch.setattr(NanoChat, "loss", wrong)


def told(link: Puppeteer) -> list[str]:
    return [one.kind for one in link.of(Notice) if one.kind.startswith("sentinel")]


def looked(link: Puppeteer) -> list[int]:
    return [one.step for one in link.of(Step) if "sentinel" in one.phases]


@pytest.mark.parametrize("precision", ["fp32", "bf16-8bit", "int8", "w2.6", "qlora-4bit"])
def test_looking_twice_changes_no_byte_and_finds_nothing_on_sound_hardware(
    trained: Train, precision: str
) -> None:
    watched, link = trained("watched", precision=precision, guard=ALWAYS)
    alone, silent = trained("alone", precision=precision, guard=NEVER)
    assert watched == alone
    assert told(link) == []
    assert looked(link) == [1, 2, 3, 4]
    assert looked(silent) == []


def test_gradients_that_are_summed_up_on_the_host_are_compared_too(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {"precision": "bf16-8bit", "gradients": "host"}
    right, _ = trained("right", guard=NEVER, **shape)
    err(monkeypatch, {2})
    found, link = trained("wrong", guard=ALWAYS, **shape)
    assert told(link) == ["sentinel_mismatch"]
    assert found == right


@pytest.mark.parametrize("call", [1, 2])
def test_a_wrong_result_is_told_and_not_used_whether_it_came_first_or_second(
    trained: Train, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    right, _ = trained("right", guard=NEVER)
    err(monkeypatch, {call})
    found, link = trained("wrong", guard=ALWAYS)
    assert told(link) == ["sentinel_mismatch"]
    (notice,) = (one for one in link.of(Notice) if one.kind == "sentinel_mismatch")
    assert notice.severity == "error"
    which = {1: "first", 2: "second"}[call]
    assert notice.message.startswith(
        f"step 1: the same micro-batch gave different bits (the {which}"
    )
    assert found == right


def test_without_it_the_same_mistake_goes_into_the_weights_and_nobody_knows(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, _ = trained("right", guard=NEVER)
    err(monkeypatch, {1})
    found, link = trained("wrong", guard=NEVER)
    assert found["model.safetensors"] != right["model.safetensors"]
    assert told(link) == []


def test_kernels_without_a_fixed_order_are_no_fault_and_end_the_looking(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    err(monkeypatch, range(1, 100))
    _, link = trained("unordered", guard=ALWAYS)
    assert told(link) == ["sentinel_rests"]
    assert looked(link) == [1]
    assert isinstance(link.last, Finished)


def test_memory_that_runs_out_while_it_looks_only_makes_the_portions_smaller(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = NanoChat.loss
    calls = 0

    def hungry(model: Any, ids: Any, targets: Any, *rest: Any, **options: Any) -> Any:
        nonlocal calls
        calls += torch.is_grad_enabled()
        if torch.is_grad_enabled() and calls == 2:
            raise torch.OutOfMemoryError
        return loss(model, ids, targets, *rest, **options)

    monkeypatch.setattr(NanoChat, "loss", hungry)
    _, link = trained("hungry", guard=ALWAYS)
    assert told(link) == []
    assert not link.of(Failed)
    assert looked(link) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("ratio", "micro_batches", "steps"),
    [(0.0, 1, 0), (1.0, 1, 1), (1.0, 64, 1), (0.005, 1, 200), (0.005, 64, 3), (0.005, 512, 1)],
)
def test_the_part_that_is_looked_at_is_kept_for_any_number_of_micro_batches(
    ratio: float, micro_batches: int, steps: int
) -> None:
    assert interval_steps(ratio, micro_batches) == steps


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_any_one_flipped_bit_changes_the_digest(dtype: torch.dtype) -> None:
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}[dtype.itemsize]
    tensor = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    for bit in range(dtype.itemsize * 8 - 1):
        flipped = tensor.clone()
        flipped.view(whole)[3, 2] ^= 1 << bit
        assert digest(flipped) != digest(tensor), bit
    assert digest(tensor.T) == digest(tensor)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, "often"])
def test_a_senseless_ratio_is_refused_by_its_name(spec: RunSpec, ratio: object) -> None:
    plain = spec.to_dict()
    plain["guard"]["sentinel_ratio"] = ratio
    with pytest.raises(InvalidFileError, match="sentinel_ratio"):
        from_dict(plain)
