"""qlora-4bit: adapters that are merged into a packed base, and lose nothing on the way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.unit.model.small import DEPTH_1, lively, run_spec, same_bytes, tokens
from trainer.contract import toml
from trainer.contract.spec import ModelSpec, RunSpec, from_dict
from trainer.optim import Optimizer
from trainer.precision import build, keep, lowrank
from trainer.precision.adapted import AdaptedLinear
from trainer.precision.codecs.nf4 import Nf4
from trainer.precision.kept import Keeping
from trainer.precision.merges import Merges
from trainer.state import State

CPU = torch.device("cpu")
STEPS = 14
#: merges after steps 2, 5, 9 and 13
INTERVAL_STEPS = 3
MERGES = [step for step in range(STEPS) if Merges(INTERVAL_STEPS).at(step)]


def adapter_spec(model: ModelSpec = DEPTH_1, **train: int) -> RunSpec:
    """A short run whose merges come soon."""
    spec = run_spec(model, precision="qlora-4bit")
    switches = {"steps": STEPS, "merge_interval_steps": INTERVAL_STEPS, **train}
    return dataclasses.replace(spec, train=dataclasses.replace(spec.train, **switches))


def adapted(keeping: Keeping) -> Iterator[tuple[str, AdaptedLinear]]:
    """The matrices with adapters, by their weights' names."""
    for name, part in keeping.model.named_modules():
        if isinstance(part, AdaptedLinear):
            yield f"{name}.weight", part


def adapter_for(shape: tuple[int, int]) -> AdaptedLinear:
    """One matrix with a base and an adapter that both matter."""
    layer = AdaptedLinear(shape, 16, Nf4(), CPU)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.pack(torch.randn(layer.short, layer.long, generator=generator) / 8)
        layer.projection.copy_(lowrank.random_projection(layer.short, 16, 1))
        layer.adapter.copy_(torch.randn(16, layer.long, generator=generator) / 8)
    return layer


def backward(keeping: Keeping, seed: int) -> float:
    """One micro-batch; its loss."""
    ids, targets = (tokens(sequences=2, seed=2 * seed + each) for each in range(2))
    with keeping.recipe.autocast(CPU):
        loss = keeping.model.loss(ids, targets)
    torch.autograd.backward(loss)
    return loss.item()


def train(state: State, until: int) -> None:
    """Steps of two micro-batches."""
    while state.step < until:
        loss = sum(backward(state.keeping, 2 * state.step + each) for each in range(2)) / 2
        norm = state.optimizer.step(state.step, STEPS)
        state.finished_step(loss, norm)


def snapshot(state: State) -> dict[str, Tensor]:
    """A copy of every byte that a checkpoint would hold."""
    return {
        f"{file}/{name}": tensor.clone()
        for file, tensors in state.files().items()
        for name, tensor in tensors.items()
    }


def test_interrupted_after_any_step_it_ends_with_the_same_bytes_across_all_merges() -> None:
    straight = State(adapter_spec(), CPU)
    train(straight, STEPS)
    halted = State(adapter_spec(), CPU)
    for step in range(1, STEPS + 1):
        train(halted, step)
        files = {
            name: {key: tensor.clone() for key, tensor in tensors.items()}
            for name, tensors in halted.files().items()
        }
        resumed = State(adapter_spec(), CPU)
        resumed.load(files, halted.meta())
        halted = resumed
    found, wanted = snapshot(halted), snapshot(straight)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not same_bytes(found[name], wanted[name])] == []
    assert wanted["optimizer/merges.progress"].tolist() == [STEPS, len(MERGES)]


def test_merges_happen_exactly_when_the_schedule_says() -> None:
    state = State(adapter_spec(), CPU)
    _, layer = next(adapted(state.keeping))
    changed = []
    for step in range(STEPS):
        before = layer.projection.clone()
        train(state, step + 1)
        if not torch.equal(layer.projection, before):
            changed.append(step)
    assert changed == MERGES == [2, 5, 9, 13]


def test_a_merge_moves_the_weights_less_than_packing_them_would() -> None:
    state = State(adapter_spec(), CPU)
    train(state, MERGES[1])
    weights: dict[str, Tensor] = {}
    parts = dict(adapted(state.keeping))

    def remember(*_: object) -> list[str]:
        weights.update({name: layer.unpacked(torch.float32) for name, layer in parts.items()})
        return after_step(*_)

    after_step = state.keeping.after_step
    state.keeping.after_step = remember  # type: ignore[method-assign,assignment] # looks only
    train(state, MERGES[1] + 1)
    for name, layer in parts.items():
        before = weights[name]
        plain = layer.packed(lowrank.lying(before)) - lowrank.lying(before)
        moved = layer.unpacked(torch.float32) - before
        assert 0 < moved.norm() < 0.95 * plain.norm(), name


def test_moments_go_on_across_a_merge() -> None:
    state = State(adapter_spec(), CPU)
    train(state, MERGES[0] + 1)
    tensors = state.optimizer.state_tensors()
    for name, _ in adapted(state.keeping):
        assert tensors[f"adamw8.exp_avg_scale.{name}"].all(), name
    assert {kept.age(state.step) for kept in state.keeping.trained} == {state.step}


@pytest.mark.parametrize("shape", [(64, 64), (256, 64), (64, 256)], ids=str)
def test_gradients_of_a_matrix_are_those_of_float64(shape: tuple[int, int]) -> None:
    layer = adapter_for(shape)
    weight = layer.unpacked(torch.float32).double().requires_grad_()
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 16, shape[1], generator=generator).bfloat16()
    upstream = torch.randn(2, 16, shape[0], generator=generator).bfloat16()
    ours, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    torch.autograd.backward(layer(ours), upstream)
    torch.autograd.backward(exact @ weight.mT, upstream.double())
    assert weight.grad is not None
    assert layer.adapter.grad is not None
    assert ours.grad is not None
    assert exact.grad is not None
    wanted = layer.projection.double().mT @ lowrank.lying(weight.grad)
    for found, true in ((layer.adapter.grad, wanted), (ours.grad, exact.grad)):
        assert (found.double() - true).norm() < 0.01 * true.norm()


def test_gradients_of_the_model_are_nearly_those_of_float32() -> None:
    keeping = keep(lively(), adapter_spec())
    weights = {name: layer.unpacked(torch.float32) for name, layer in adapted(keeping)}
    exact = lively()
    with torch.no_grad():
        for name, parameter in exact.named_parameters():
            own = weights.get(name)
            parameter.copy_(keeping.model.get_parameter(name) if own is None else own)
    ids, targets = (tokens(sequences=2, seed=seed) for seed in (2, 3))
    torch.autograd.backward(exact.loss(ids, targets))
    backward(keeping, 1)
    for name, layer in adapted(keeping):
        whole = exact.get_parameter(name).grad
        assert whole is not None
        assert layer.adapter.grad is not None
        wanted = layer.projection.float().mT @ lowrank.lying(whole)
        found = layer.adapter.grad.float()
        assert torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.99, name


def test_in_a_step_before_a_merge_backward_sketches_the_whole_gradient() -> None:
    state = State(adapter_spec(), CPU)
    train(state, MERGES[0])
    for _ in range(2):
        backward(state.keeping, MERGES[0])
    for name, layer in adapted(state.keeping):
        sketch = layer.sketch.sum()
        assert sketch is not None, name
        columns = lowrank.sketch_columns(layer.adapter.size(0), layer.short)
        assert sketch.shape == (layer.short, columns)
        # P B' is what the adapter sees of the gradient; the sketch must agree with it
        assert layer.adapter.grad is not None
        seed = layer.sketch_seed()
        assert seed is not None
        probes = lowrank.probes(layer.long, columns, seed, CPU).float()
        seen = layer.adapter.grad.float() @ probes
        wanted = layer.projection.float().mT @ sketch.float()
        assert torch.cosine_similarity(seen.flatten(), wanted.flatten(), dim=0) > 0.99, name
    state.keeping.drop_gradients()
    assert all(layer.sketch.sum() is None for _, layer in adapted(state.keeping))


def test_other_steps_sketch_nothing() -> None:
    state = State(adapter_spec(), CPU)
    train(state, MERGES[0] + 1)
    backward(state.keeping, 1)
    assert all(layer.sketch.sum() is None for _, layer in adapted(state.keeping))


def test_a_merge_that_fell_on_a_step_left_out_is_made_up_for() -> None:
    state = State(adapter_spec(), CPU)
    train(state, MERGES[1])
    before = snapshot(state)
    backward(state.keeping, 1)
    gradient = state.model.lm_head.weight.grad
    assert gradient is not None
    gradient[0, 0] = math.inf
    norm = state.optimizer.step(state.step, STEPS)
    assert not math.isfinite(norm)
    after = snapshot(state)
    assert all(same_bytes(before[name], after[name]) for name in before)
    state.finished_step(1.0, norm)
    train(state, MERGES[1] + 2)
    progress = state.optimizer.state_tensors()["merges.progress"]
    assert progress.tolist() == [MERGES[1] + 2, 2]


def test_it_learns_a_batch_by_heart_through_merges() -> None:
    keeping = build(adapter_spec(), CPU)
    optimizer = Optimizer(keeping, adapter_spec())
    losses = []
    for step in range(30):
        losses.append(backward(keeping, 1))
        optimizer.step(step, 30)
    assert losses[0] == pytest.approx(math.log(512), abs=1e-3)
    assert losses[-1] < 1.0


def test_bases_are_four_and_a_half_bits_and_nothing_rests_on_the_host() -> None:
    state = State(adapter_spec(), CPU)
    train(state, STEPS)
    for _, layer in adapted(state.keeping):
        numbers = layer.short * layer.long
        packed = [layer.get_buffer(part) for part in layer.codec.layout(layer.shape)]
        assert 8 * sum(part.nbytes for part in packed) == 4.5 * numbers
        assert layer.adapter.shape == (16, layer.long)
    live = state.live_bytes()
    assert live.optimizer_on_host == live.gradients_on_host == 0


@pytest.mark.parametrize(("asked", "found"), [(0, 16), (8, 8), (64, 64)])
def test_the_rank_is_a_switch(asked: int, found: int) -> None:
    keeping = build(adapter_spec(adapter_rank=asked), CPU)
    assert {layer.adapter.size(0) for _, layer in adapted(keeping)} == {found}


def test_a_rank_above_the_width_is_refused_with_its_line() -> None:
    plain = {"name": "big", "model": {"depth": 2}, "train": {"adapter_rank": 129}}
    with pytest.raises(toml.InvalidFileError, match=r"adapter_rank.*at most the width, 128"):
        from_dict(plain)


def test_muon_has_no_place_in_it() -> None:
    spec = adapter_spec()
    spec = dataclasses.replace(spec, train=dataclasses.replace(spec.train, optimizer="muon"))
    with pytest.raises(ValueError, match=r"qlora-4bit.*'muon'.*adamw8"):
        build(spec, CPU)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at its own
def test_what_the_compiler_saw_in_one_step_does_not_stand_for_all() -> None:
    layer = adapter_for((64, 64))
    compiled = torch.compile(layer, backend="eager")
    x = torch.ones(2, 64)
    for seed in (None, 7, None):
        layer.sketch_seed = lambda seed=seed: seed  # type: ignore[misc] # no lambda's type is known
        torch.autograd.backward(compiled(x).sum())
        assert (layer.sketch.sum() is None) == (seed is None)
        layer.sketch.drop()
