"""Muon for the matrices of the blocks, AdamW for embedding and head: classic nanochat's optimizer.

It works over trained matrices as a recipe keeps them (trainer/precision/kept.py), one after the
other. Learning rate and momentum are pure functions of the step's index, so the state is tensors
only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Protocol

import torch
from torch import Tensor

from trainer.adamw import EMBEDDING_LR, HEAD_LR, AdamW, AdamW8
from trainer.contract.spec import RunSpec
from trainer.muon import MATRIX_LR, Muon, muon_momentum, orthogonalize
from trainer.precision.base import Recipe
from trainer.precision.kept import Keeping, Kept, Moment
from trainer.precision.resting import Resting, Shelf

#: added to the norm before the clipping factor is taken, as torch does
_CLIP_FLOOR = 1e-6


def lr_multiplier(step: int, steps: int, warmdown_ratio: float) -> float:
    """1, then linearly down to 0 over the last ``warmdown_ratio`` of ``steps``; no warm-up.

    ``step`` is the 0-based index of the step to be made.
    """
    warmdown_steps = round(warmdown_ratio * steps)
    if step <= steps - warmdown_steps:
        return 1.0
    return max(0, steps - step) / max(1, warmdown_steps)


class Rule(Protocol):
    """One way to update: Muon, AdamW, AdamW with 8-bit state."""

    def step(self, moment: Moment, lr: float, clip_factor: float) -> None:
        """Update all of its matrices from their gradients times ``clip_factor``."""

    def forget(self, names: Collection[str]) -> None:
        """Start the state of these matrices from zero."""

    def resting(self) -> dict[str, Resting]:
        """The state's tensors by stable names."""


class Optimizer:
    """One update of all weights from their accumulated gradients."""

    def __init__(self, keeping: Keeping, spec: RunSpec) -> None:
        self._keeping = keeping
        self._clip = spec.train.gradient_clip
        self._lr_scale = spec.train.lr_scale
        self._warmdown_ratio = spec.train.warmdown_ratio
        self._rules = _rules(keeping)

    @torch.no_grad()
    def step(self, step: int, steps: int) -> float:
        """Make the update of 0-based step ``step`` out of ``steps`` and drop the gradients.

        Returns the norm of all gradients before they were clipped. When it is not finite,
        weights and state stay as they are.

        Raises:
            ValueError: a weight has no gradient.
        """
        norm = self._norm()
        if math.isfinite(norm):
            moment = Moment(step, lr_multiplier(step, steps, self._warmdown_ratio))
            clip_factor = self._clip / (norm + _CLIP_FLOOR) if self._clip else 1.0
            for rule in self._rules:
                rule.step(moment, self._lr_scale * moment.lr_multiplier, clip_factor)
            renewed = self._keeping.after_step(moment)
            for rule in self._rules:
                rule.forget(renewed)
        self._keeping.drop_gradients()
        return norm

    def resting(self) -> dict[str, Resting]:
        """All tensors of the file ``optimizer`` with the places where they rest."""
        found: dict[str, Resting] = {}
        for rule in self._rules:
            found |= rule.resting()
        return found | self._keeping.resting()

    def state_tensors(self) -> dict[str, Tensor]:
        """The live tensors of the state by stable names; they change with the next step."""
        return {name: kept.tensor for name, kept in self.resting().items()}

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Copy a saved state, byte for byte.

        Raises:
            ValueError: a tensor is missing, is too many, or has another shape or dtype; names
                all of them, and nothing has been copied.
        """
        self._keeping.expect(tensors.keys())
        state = self.state_tensors()
        problems = list(_misfits(tensors, state))
        if problems:
            raise ValueError("this is no state of this optimizer: " + "; ".join(problems))
        for name, tensor in state.items():
            tensor.copy_(tensors[name])

    def _norm(self) -> float:
        """Of all gradients together, one matrix at a time."""
        norms = [
            torch.linalg.vector_norm(_gradient(each), dtype=torch.float32)
            for each in self._keeping.trained
        ]
        return float(torch.linalg.vector_norm(torch.stack(norms)))


def _rules(keeping: Keeping) -> list[Rule]:
    recipe, setting = keeping.recipe, keeping.setting
    shelf = Shelf(setting.device, setting.parked)
    blocks = [each for each in keeping.trained if each.name.startswith("transformer.h.")]
    others = [each for each in keeping.trained if not each.name.startswith("transformer.h.")]
    width = keeping.model.shape.width
    if setting.optimizer == "muon":
        muon = Muon(blocks, recipe.orthogonalize_dtype, shelf, recipe.state_bits)
        return [muon, _adamw(others, width, shelf, recipe)]
    return [_adamw([*blocks, *others], width, shelf, recipe)]


def _adamw(weights: list[Kept], width: int, shelf: Shelf, recipe: Recipe) -> Rule:
    chosen = AdamW8 if recipe.state_bits == 8 else AdamW
    return chosen(weights, width, shelf)


def _misfits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> Iterator[str]:
    for name in sorted(found.keys() ^ wanted.keys()):
        yield f"{name} is {'missing' if name in wanted else 'unknown'}"
    for name in sorted(found.keys() & wanted.keys()):
        given, kept = _kind(found[name]), _kind(wanted[name])
        if given != kept:
            yield f"{name} is {given} instead of {kept}"


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _gradient(kept: Kept) -> Tensor:
    summed = kept.gradient.sum()
    if summed is None:
        raise ValueError(f"{kept.name} has no gradient; run backward before the step")
    return summed


__all__ = [
    "EMBEDDING_LR",
    "HEAD_LR",
    "MATRIX_LR",
    "Optimizer",
    "lr_multiplier",
    "muon_momentum",
    "orthogonalize",
]
