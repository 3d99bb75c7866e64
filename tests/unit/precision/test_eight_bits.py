"""Optimizer state in eight bits, parked tensors, and sums of gradients: the parts by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer import adamw
from trainer.adamw import AdamW, AdamW8
from trainer.moments import FloatMomentum, Int8Momentum
from trainer.muon import Muon
from trainer.precision.gradients import OnDevice, OnHost, of_parameter
from trainer.precision.kept import Moment, Whole
from trainer.precision.resting import Shelf

CPU = torch.device("cpu")
ON_DEVICE, PARKED = Shelf(CPU, parked=False), Shelf(CPU, parked=True)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights(*names: str, rows: int = 96, columns: int = 64) -> list[Whole]:
    made = []
    for index, name in enumerate(names):
        parameter = nn.Parameter(normal(rows, columns, seed=index))
        made.append(Whole(name, parameter, of_parameter(parameter, on_host=False)))
        made[-1].parameter = parameter  # type: ignore[attr-defined] # so that tests give gradients
    return made


def step(rule: Any, kept: list[Whole], count: int, clip_factor: float = 1.0) -> None:
    """Steps with gradients that point the same way more than not."""
    for index in range(count):
        for place, each in enumerate(kept):
            shape = tuple(each.shape)
            gradient = normal(*shape, seed=77 + place) + normal(*shape, seed=1000 * place + index)
            each.parameter.grad = gradient  # type: ignore[attr-defined] # see above
        with torch.no_grad():
            rule.step(Moment(index, 1.0), 1.0, clip_factor)


def moved(kept: Whole, index: int) -> Tensor:
    return kept.master().double() - normal(*kept.shape, seed=index).double()


def cosine(left: Tensor, right: Tensor) -> float:
    return torch.cosine_similarity(left.flatten(), right.flatten(), dim=0).item()


def test_eight_bit_adamw_moves_weights_as_the_full_one_does() -> None:
    full, eight = weights("lm_head.weight"), weights("lm_head.weight")
    step(AdamW(full, 768, ON_DEVICE), full, 20)
    step(AdamW8(eight, 768, ON_DEVICE), eight, 20)
    assert cosine(moved(eight[0], 0), moved(full[0], 0)) > 0.995
    lengths = [moved(each[0], 0).norm().item() for each in (eight, full)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)


def test_eight_bit_muon_moves_weights_as_the_full_one_does() -> None:
    full, eight = weights("a", "b"), weights("a", "b")
    step(Muon(full, torch.float32, ON_DEVICE, 32), full, 20)
    step(Muon(eight, torch.float32, ON_DEVICE, 8), eight, 20)
    for index in range(2):
        assert cosine(moved(eight[index], index), moved(full[index], index)) > 0.99


@pytest.mark.parametrize("rule", ["adamw8", "muon8", "muon", "adamw"])
def test_parked_state_is_the_same_state(rule: str) -> None:
    def make(kept: list[Whole], shelf: Shelf) -> Any:
        if rule.startswith("adamw"):
            return (AdamW8 if rule.endswith("8") else AdamW)(kept, 768, shelf)
        return Muon(kept, torch.float32, shelf, 8 if rule.endswith("8") else 32)

    here, there = weights("a", "b"), weights("a", "b")
    rules = make(here, ON_DEVICE), make(there, PARKED)
    step(rules[0], here, 3)
    step(rules[1], there, 3)
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.master(), other.master())
    for name, kept in rules[0].resting().items():
        parked = rules[1].resting()[name]
        assert parked.parked
        assert torch.equal(kept.tensor, parked.tensor)


def test_rows_in_chunks_are_updated_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, chunked = weights("a", rows=600), weights("a", rows=600)
    step(AdamW8(whole, 768, ON_DEVICE), whole, 3)
    monkeypatch.setattr(adamw, "_CHUNK_NUMBERS", 256 * 64)
    step(AdamW8(chunked, 768, ON_DEVICE), chunked, 3)
    assert torch.equal(whole[0].master(), chunked[0].master())


def test_clipped_gradients_are_scaled_before_they_are_used() -> None:
    """AdamW does not see the scale of all gradients together, but that of one among others."""
    for make in (AdamW, AdamW8):
        kept = weights("a")
        rule = make(kept, 768, ON_DEVICE)
        step(rule, kept, 1, clip_factor=0.25)
        gradient = normal(96, 64, seed=77) + normal(96, 64, seed=0)
        state = rule.resting()
        if make is AdamW:
            torch.testing.assert_close(state["adamw.exp_avg.a"].tensor, 0.2 * 0.25 * gradient)
        else:
            scale = state["adamw8.exp_avg_scale.a"].tensor
            largest = 0.2 * 0.25 * gradient.flatten().view(-1, 256).abs().amax(1)
            torch.testing.assert_close(scale, largest)


def test_an_int8_momentum_begins_as_exact_zeros_and_keeps_zeros() -> None:
    momentum = Int8Momentum(torch.Size((8, 64)), ON_DEVICE)
    assert not momentum.fetch().any()
    momentum.put_back(momentum.fetch())
    assert not momentum.fetch().any()


@pytest.mark.parametrize("shelf", [ON_DEVICE, PARKED])
def test_an_int8_momentum_is_within_half_a_step_of_its_block_s_largest(shelf: Shelf) -> None:
    values = normal(16, 96) * torch.logspace(-6, 2, 16)[:, None]
    momentum = Int8Momentum(torch.Size((16, 96)), shelf)
    momentum.put_back(values)
    blocks = (values - momentum.fetch()).flatten().view(-1, 256)
    largest = values.flatten().view(-1, 256).abs().amax(1)
    assert (blocks.abs().amax(1) <= largest * (0.51 / 127)).all()
    assert {kept.tensor.dtype for kept in momentum.resting().values()} == {
        torch.uint8,
        torch.float32,
    }


def test_what_is_parked_does_not_change_until_it_is_put_back() -> None:
    momentum = FloatMomentum(torch.Size((2, 2)), torch.float32, PARKED)
    mean = momentum.fetch()
    mean.fill_(5.0)
    assert not momentum.resting()[""].tensor.any()
    momentum.put_back(mean)
    assert torch.equal(momentum.resting()[""].tensor, mean)


def test_without_pinned_memory_pageable_memory_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.zeros
    asked: list[bool] = []

    def zeros(*shape: int, pin_memory: bool = False, **how: Any) -> Tensor:
        asked.append(pin_memory)
        if pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return real(*shape, **how)

    monkeypatch.setattr(torch, "zeros", zeros)
    made = Shelf(torch.device("cuda"), parked=True).zeros((4, 4), torch.int8)
    assert asked == [True, False]
    assert made.tensor.device == CPU
    assert made.parked


def test_a_forgotten_state_begins_again() -> None:
    for make in (
        lambda kept: AdamW(kept, 768, ON_DEVICE),
        lambda kept: AdamW8(kept, 768, ON_DEVICE),
        lambda kept: Muon(kept, torch.float32, ON_DEVICE, 8),
    ):
        kept, fresh = weights("a", "b"), weights("a", "b")
        rule, new = make(kept), make(fresh)
        step(rule, kept, 3)
        rule.forget(["a", "of nobody"])
        for name, tensor in rule.resting().items():
            assert torch.equal(tensor.tensor, new.resting()[name].tensor) == name.endswith(".a")


def test_sums_on_the_host_are_float32_and_on_the_device_as_asked() -> None:
    parts = [normal(32, 16, seed=seed).bfloat16() for seed in range(9)]
    host, device = OnHost(CPU), OnDevice(torch.bfloat16)
    for gradient in (host, device):
        assert gradient.sum() is None
        for part in parts:
            gradient.add(part.clone())
    exact = sum(part.double() for part in parts)
    found, rough = host.sum(), device.sum()
    assert found is not None
    assert rough is not None
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)
    assert (host.on_host, host.size_bytes()) == (True, 4 * 512)
    assert (device.on_host, device.size_bytes()) == (False, 2 * 512)
    assert (rough.double() - exact).abs().max() > 1e-3
    for gradient in (host, device):
        gradient.drop()
        assert gradient.sum() is None
    host.add(parts[0])
    again = host.sum()
    assert again is not None
    assert torch.equal(again, parts[0].float()), "nothing of the dropped sum is left"


def test_a_host_sum_frees_the_device_s_gradient_at_once() -> None:
    parameter = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    gradient = of_parameter(parameter, on_host=True)
    for _ in range(3):
        torch.autograd.backward((parameter * 2).sum())
        assert parameter.grad is None
    summed = gradient.sum()
    assert summed is not None
    assert torch.equal(summed, torch.full((4, 4), 6.0))
