"""State: everything that a checkpoint holds, and nothing else that a run's bytes hang on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer import skips
from trainer.checkpoint.format import MANIFEST, SUFFIX, Manifest
from trainer.contract.spec import RunSpec
from trainer.health import Health, Retreat
from trainer.model import NanoChat
from trainer.optim import Optimizer
from trainer.precision import Recipe, build, recipe, settle
from trainer.skips import Skips


class StateError(Exception):
    """A recipe that cannot be built, or a checkpoint that does not fit what was built."""


#: what ``load`` needs; checkpoints of homerun 0.1 have no more
_FILES = ("model", "optimizer")
_FIGURES = ("step", "loss", "bits_per_byte_before", "bits_per_byte", "evaluated_step")


def lacking(manifest: Manifest) -> str:
    """Why nothing can go on from a checkpoint with this manifest; empty when something can."""
    missing = [f"file {name}{SUFFIX}" for name in _FILES if f"{name}{SUFFIX}" not in manifest.files]
    missing += [f"figure {name!r}" for name in _FIGURES if name not in manifest.meta]
    if missing:
        return f"{MANIFEST}: it names no {', no '.join(missing)}"
    if manifest.meta["step"] != manifest.step:
        return f"{MANIFEST}: its state is said to be of step {manifest.meta['step']!r}"
    return ""


@dataclass(frozen=True)
class LiveBytes:
    """Bytes of the live tensors, by category and place."""

    #: what the forward pass reads, on the compute device
    weights: int
    #: sums over the micro-batches
    gradients_on_device: int
    gradients_on_host: int
    #: moments, residuals and masters
    optimizer_on_device: int
    optimizer_on_host: int


class State:
    """Weights, optimizer state and the figures that belong to the last finished step."""

    def __init__(self, spec: RunSpec, device: torch.device) -> None:
        """The state before the first step, the same on every device.

        Raises:
            StateError: the spec's recipe does not exist, or cannot do what the spec asks for.
        """
        self.device = device
        self.batch_tokens = spec.train.batch_tokens
        try:
            self.keeping = build(spec, device)
        except ValueError as error:
            raise StateError(str(error)) from None
        self.recipe = self.keeping.recipe
        self.model = self.keeping.model
        self.optimizer = Optimizer(self.keeping, spec)
        #: finished optimizer steps
        self.step = 0
        #: which steps were bad, and how often the run went back because of them
        self.health = Health(spec.guard)
        #: the batches that are left out
        self.skips = Skips()
        #: nats per token over the last finished step
        self.loss: float | None = None
        #: validation before the first step, and the newest one with its step
        self.bits_per_byte_before: float | None = None
        self.bits_per_byte: float | None = None
        self.evaluated_step: int | None = None

    def files(self) -> dict[str, Mapping[str, Tensor]]:
        """The live tensors by file; they do not change before the next optimizer step."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_tensors()}

    def kept_bytes(self) -> int:
        """Bytes of all tensors that a checkpoint holds."""
        return sum(_bytes(tensor) for file in self.files().values() for tensor in file.values())

    def live_bytes(self) -> LiveBytes:
        """What is there now; gradients come with the first backward pass."""
        gradients, optimizer = [0, 0], [0, 0]
        for each in self.keeping.trained:
            gradients[each.gradient.on_host] += each.gradient.size_bytes()
        for kept in self.optimizer.resting().values():
            optimizer[kept.parked] += _bytes(kept.tensor)
        weights = sum(_bytes(tensor) for tensor in self.model.state_dict().values())
        return LiveBytes(weights, *gradients, *optimizer)

    def meta(self) -> dict[str, Any]:
        """The figures as plain JSON types; ``load`` reads them back."""
        return {
            "precision": self.recipe.name,
            "step": self.step,
            "tokens": self.step * self.batch_tokens,
            "health": self.health.to_plain(),
            "skipped": self.skips.to_plain(),
            "loss": self.loss,
            "bits_per_byte_before": self.bits_per_byte_before,
            "bits_per_byte": self.bits_per_byte,
            "evaluated_step": self.evaluated_step,
        }

    def load(self, files: Mapping[str, dict[str, Tensor]], meta: Mapping[str, Any]) -> None:
        """Take over a checkpoint, its bytes unchanged.

        Raises:
            StateError: another recipe made it, or a tensor is missing, is too many, or has
                another shape or dtype.
        """
        made_by = meta.get("precision", self.recipe.name)
        if made_by != self.recipe.name:
            raise StateError(
                f"the checkpoint was made by recipe {made_by!r}, this run trains with "
                f"{self.recipe.name!r}: go on with {made_by!r}, or give the run a name of its own"
            )
        for name in _FILES:
            if name not in files:
                raise StateError(f"the checkpoint has no file {name}")
        _copy_exactly(files["model"], self.model.state_dict())
        try:
            self.optimizer.load_state_tensors(files["optimizer"])
        except ValueError as error:
            raise StateError(str(error)) from None
        self.step = int(meta["step"])
        # checkpoints of homerun 0.1 know nothing of these
        if "health" in meta:
            self.health.load(meta["health"])
            self.skips = skips.from_plain(meta["skipped"])
        self.loss = meta["loss"]
        self.bits_per_byte_before = meta["bits_per_byte_before"]
        self.bits_per_byte = meta["bits_per_byte"]
        self.evaluated_step = meta["evaluated_step"]

    def evaluated(self, bits_per_byte: float) -> None:
        """Note the validation of the last finished step."""
        self.bits_per_byte = bits_per_byte
        self.evaluated_step = self.step
        if self.step == 0:
            self.bits_per_byte_before = bits_per_byte

    def finished_step(self, loss: float, gradient_norm: float) -> str:
        """Note that one more step is done, applied or left out; what was bad about it, if so."""
        self.step += 1
        self.loss = loss
        return self.health.judge(loss, gradient_norm)

    def went_back(self, retreat: Retreat, leaving_out: Skips) -> None:
        """Note why this state, just loaded, is the current one again."""
        self.health.went_back(retreat)
        self.skips = leaving_out

    def batch_after(self, steps: int) -> int:
        """The number of the global batch that comes after ``steps`` finished steps."""
        return self.skips.batch_of(steps)


def model_of(
    spec: RunSpec, device: torch.device, weights: Mapping[str, Tensor]
) -> tuple[NanoChat, Recipe]:
    """A run's model with ``weights`` from a checkpoint, to be used but not to be trained.

    Raises:
        StateError: the recipe does not exist, or the weights are not this model's.
    """
    try:
        chosen = recipe(spec.train.precision)
        with torch.device("meta"):
            model = NanoChat(spec.model)
        chosen.prepare(model, settle(spec, chosen, device))
    except ValueError as error:
        raise StateError(str(error)) from None
    _copy_exactly(weights, model.state_dict())
    return model.requires_grad_(False).eval(), chosen


@torch.no_grad()
def _copy_exactly(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    if source.keys() != target.keys():
        odd = sorted(source.keys() ^ target.keys())
        raise StateError(f"the checkpoint's weights are not this model's: {', '.join(odd[:5])}")
    for name, tensor in target.items():
        found = source[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise StateError(
                f"{name} is {found.dtype} {list(found.shape)} in the checkpoint, "
                f"{tensor.dtype} {list(tensor.shape)} in the model"
            )
        tensor.copy_(found)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
