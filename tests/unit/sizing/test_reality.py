"""The memory model against what is really there: live tensors, and torch's own count."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.unit.sizing.counted import a_run, activation_peak_bytes, step_bytes
from trainer import loss, moments
from trainer.contract.spec import MemorySpec, ModelSpec, RunSpec, TrainSpec
from trainer.optim import Optimizer
from trainer.precision import RECIPES
from trainer.sizing import memory as sizing
from trainer.sizing.storage import storage_of
from trainer.state import State

CPU = torch.device("cpu")
SMALL = ModelSpec(depth=2, vocab_size=512, sequence_length=32)
#: a parked tensor compares addresses, which fake tensors have, but do not like to tell
LOOKS_AT_FAKES = "ignore:Accessing the data pointer of FakeTensor"
EVERY_RECIPE = [
    *((name, "auto", "seq2") for name in RECIPES),
    *((name, "adamw8", "seq2") for name, each in RECIPES.items() if "adamw8" in each.optimizers),
    ("w2.6", "auto", "ternary"),
]


def small_run(precision: str, optimizer: str, codec: str, **memory: Any) -> RunSpec:
    train = TrainSpec(
        steps=10,
        batch_tokens=128,
        micro_batch=2,
        precision=precision,
        optimizer=optimizer,
        mlp_codec=codec,
    )
    switches = MemorySpec(**{"residual": "always", "optimizer_state": "host", **memory})
    return RunSpec(name="live", model=SMALL, train=train, memory=switches)


def live(spec: RunSpec) -> State:
    """A state with gradients."""
    state = State(spec, CPU)
    ids = torch.randint(256, (spec.train.micro_batch, spec.model.sequence_length))
    with state.recipe.autocast(CPU):
        found = state.model.loss(ids, ids)
    torch.autograd.backward(found)
    return state


@pytest.mark.parametrize(("precision", "optimizer", "codec"), EVERY_RECIPE)
def test_every_category_is_that_of_the_live_tensors_and_the_checkpoint_their_sum(
    precision: str, optimizer: str, codec: str
) -> None:
    spec = small_run(precision, optimizer, codec)
    state = live(spec)
    found = state.live_bytes()
    expected = sizing.memory(SMALL, storage_of(spec), spec.train.micro_batch)
    assert expected.weights == pytest.approx(found.weights, rel=0.002)
    assert expected.gradients == pytest.approx(found.gradients_on_device, rel=0.002)
    assert expected.host == pytest.approx(found.optimizer_on_host, rel=0.002)
    assert expected.state == pytest.approx(found.optimizer_on_device, abs=100)
    real = sum(tensor.nbytes for file in state.files().values() for tensor in file.values())
    assert sizing.checkpoint_bytes(spec) == pytest.approx(real + 65_536, rel=0.002)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-8bit", "w3"])
def test_switches_move_bytes_as_the_model_says(precision: str) -> None:
    spec = small_run(precision, "auto", "seq2", optimizer_state="device", gradients="host")
    found = live(spec).live_bytes()
    expected = sizing.memory(SMALL, storage_of(spec), spec.train.micro_batch)
    assert expected.state == pytest.approx(found.optimizer_on_device, rel=0.002)
    assert expected.host == pytest.approx(found.gradients_on_host, rel=0.002)
    assert found.gradients_on_device == 0


def test_the_loss_takes_as_many_rows_at_a_time_as_the_model_counts() -> None:
    assert loss._ROWS == sizing.LOSS_ROWS


# --- torch's count --------------------------------------------------------------------------


def check(spec: RunSpec, tolerance: float) -> None:
    """Activations and logits of the model against torch's count."""
    storage = storage_of(spec)
    # what MemTracker sees of int8 is the CPU's path
    plain = dataclasses.replace(storage, int8_matmuls=False)
    expected = sizing.memory(spec.model, plain, spec.train.micro_batch)
    beyond = expected.allocated - expected.weights - expected.gradients
    assert beyond == pytest.approx(activation_peak_bytes(spec), rel=tolerance)


@pytest.mark.filterwarnings(LOOKS_AT_FAKES)
@pytest.mark.parametrize(
    ("precision", "again"),
    [("fp32", False), ("bf16", True), ("bf16-8bit", True), ("bf16-8bit", False), ("nf4", True)],
)
def test_activations_of_a_small_model_are_those_that_torch_counts(
    precision: str, again: bool
) -> None:
    check(a_run(precision, 4, 2, again=again, sequence_length=512), tolerance=0.03)


@pytest.fixture
def _values_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors have no values: what a step asks of them is answered here."""
    zero_code = moments._zero_code()
    monkeypatch.setattr(moments, "_zero_code", lambda: zero_code)
    monkeypatch.setattr(Optimizer, "_norm", lambda self: 2.0)


def check_step(spec: RunSpec) -> None:
    expected = sizing.memory(spec.model, storage_of(spec), spec.train.micro_batch)
    assert expected.step == pytest.approx(step_bytes(spec), rel=0.1)


@pytest.mark.filterwarnings(LOOKS_AT_FAKES)
@pytest.mark.usefixtures("_values_unasked")
def test_a_step_of_a_small_model_needs_what_torch_counts() -> None:
    check_step(a_run("bf16-8bit", 4, 1, again=True, sequence_length=64))


@pytest.mark.long
@pytest.mark.filterwarnings(LOOKS_AT_FAKES)
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_values_unasked")
@pytest.mark.parametrize("precision", ["bf16-8bit", "nf4"])
def test_a_step_of_the_real_d32_needs_what_torch_counts(precision: str) -> None:
    check_step(a_run(precision, 32, 1, again=True, sequence_length=64))


@pytest.mark.long
@pytest.mark.filterwarnings(LOOKS_AT_FAKES)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8])
def test_activations_of_the_real_d32_are_those_that_torch_counts(micro_batch: int) -> None:
    check(a_run("bf16-8bit", 32, micro_batch, again=True), tolerance=0.02)


@pytest.mark.long
@pytest.mark.filterwarnings(LOOKS_AT_FAKES)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "nf4", "w3"])
def test_activations_of_other_recipes_at_d32(precision: str) -> None:
    again = precision not in ("fp32", "bf16")
    check(a_run(precision, 32, 2, again=again), tolerance=0.02)
