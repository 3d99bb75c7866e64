"""What the tests of the recipes share: tiny runs of every recipe, and their bytes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.contract.spec import MemorySpec, ModelSpec, RunSpec, TrainSpec
from trainer.precision import RECIPES
from trainer.state import State

CPU = torch.device("cpu")
MODEL = ModelSpec(depth=2, vocab_size=512, sequence_length=16)
NAMES = tuple(RECIPES)
#: every recipe with everything that may train the matrices of its blocks
VARIANTS = tuple((name, rule) for name, each in RECIPES.items() for rule in each.optimizers)
STEPS = 6
MICRO_BATCHES = 2


def spec_of(
    precision: str,
    optimizer: str = "auto",
    *,
    model: ModelSpec = MODEL,
    seed: int = 7,
    micro_batches: int = MICRO_BATCHES,
    warmdown_ratio: float = 0.5,
    **memory: str,
) -> RunSpec:
    """Six steps; the learning rate falls in the last two."""
    train = TrainSpec(
        steps=STEPS,
        batch_tokens=2 * model.sequence_length * micro_batches,
        micro_batch=2,
        precision=precision,
        optimizer=optimizer,
        warmdown_ratio=warmdown_ratio,
    )
    return RunSpec(name="small", seed=seed, model=model, train=train, memory=MemorySpec(**memory))


def state_of(precision: str, optimizer: str = "auto", **changes: Any) -> State:
    """A run before its first step."""
    return State(spec_of(precision, optimizer, **changes), CPU)


def batch(index: int, *, model: ModelSpec = MODEL) -> tuple[Tensor, Tensor]:
    """A micro-batch as a pure function of its number; its texts repeat themselves."""
    generator = torch.Generator().manual_seed(index % 3)
    text = torch.randint(40, (2, model.sequence_length + 1), generator=generator)
    return text[:, :-1], text[:, 1:]


def backward(state: State, index: int, micro_batches: int = MICRO_BATCHES) -> float:
    """One micro-batch, as the stepper computes it."""
    ids, targets = batch(index)
    with state.recipe.autocast(CPU):
        loss = state.model.loss(ids, targets)
    torch.autograd.backward(loss / micro_batches)
    return loss.item()


def train(state: State, until: int, micro_batches: int = MICRO_BATCHES) -> list[float]:
    """Step from where the state stands; the mean loss of each step."""
    losses = []
    while state.step < until:
        first = state.step * micro_batches
        step_losses = [backward(state, first + i, micro_batches) for i in range(micro_batches)]
        losses.append(sum(step_losses) / micro_batches)
        norm = state.optimizer.step(state.step, STEPS)
        state.finished_step(losses[-1], norm)
    return losses


def saved(state: State) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """A checkpoint's content that no later step changes."""
    files = {
        name: {key: tensor.clone() for key, tensor in tensors.items()}
        for name, tensors in state.files().items()
    }
    return files, state.meta()


def prints(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """A digest of every tensor, by file and name."""
    return {f"{file}/{name}": digest for file, name, digest in _digests(files)}


def _digests(
    files: Mapping[str, Mapping[str, Tensor]],
) -> Iterator[tuple[str, str, str]]:
    for file, tensors in files.items():
        for name, tensor in tensors.items():
            plain = tensor.detach().contiguous().cpu().flatten().view(torch.uint8)
            kind = f"{tensor.dtype}{list(tensor.shape)}".encode()
            yield file, name, hashlib.sha256(kind + plain.numpy().tobytes()).hexdigest()


def with_seed(spec: RunSpec, seed: int) -> RunSpec:
    """The same run with other weights and other random bits."""
    return dataclasses.replace(spec, seed=seed)
