"""Kept: one trained matrix as its recipe keeps it, and Keeping: a whole model of them.

The optimizer knows nothing of formats. For each matrix it asks for the master, changes it, and
gives it back to be stored; the recipe rounds, splits or packs as it likes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from trainer.model import NanoChat
from trainer.precision.gradients import Gradient
from trainer.precision.resting import Resting

if TYPE_CHECKING:
    from trainer.precision.base import Recipe, Setting

ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Moment:
    """When an update happens. Everything random or scheduled is a pure function of it."""

    #: 0-based index of the step
    step: int
    #: the schedule's multiplier; below 1 in the warm-down
    lr_multiplier: float


class Kept(Protocol):
    """One trained matrix [rows, columns]."""

    @property
    def name(self) -> str:
        """Stable; the weight's name in the model's own ``named_parameters``."""

    @property
    def shape(self) -> torch.Size:
        """Rows and columns of the master."""

    @property
    def gradient(self) -> Gradient:
        """What backward has added up."""

    @property
    def lr_factor(self) -> float:
        """Multiplies the optimizer's own rate for this matrix; 1 unless the recipe wants more."""

    def age(self, step: int) -> int:
        """Updates before ``step`` that its optimizer state has seen; ``step`` itself as a rule."""

    def master(self, rows: slice = ALL_ROWS) -> Tensor:
        """The best known values of some rows on the compute device, to be changed in place.

        float32, and a copy; or the stored weight itself where the recipe trains it as it is.
        """

    def store(self, values: Tensor, moment: Moment, rows: slice = ALL_ROWS) -> None:
        """Keep updated ``values`` of ``rows``, which ``master`` gave out."""

    def fill(self, values: Tensor) -> None:
        """Take float32 ``values`` [rows, columns] on the CPU as the weights to begin with."""

    def resting(self) -> Mapping[str, Resting]:
        """What must be saved besides the model's own ``state_dict``: residuals, masters."""

    def expect(self, names: Collection[str]) -> None:
        """Make room for those of the saved tensors ``names`` that are there only at times."""


class Whole:
    """A weight that is trained as it is stored: the parameter itself is the master."""

    lr_factor = 1.0

    def __init__(self, name: str, parameter: nn.Parameter, gradient: Gradient) -> None:
        self.name = name
        self.shape = parameter.shape
        self.gradient = gradient
        self._weight = parameter.detach()

    def age(self, step: int) -> int:
        return step

    def master(self, rows: slice = ALL_ROWS) -> Tensor:
        return self._weight[rows]

    def store(self, values: Tensor, moment: Moment, rows: slice = ALL_ROWS) -> None:
        if values.data_ptr() != self._weight[rows].data_ptr():
            self._weight[rows] = values

    def fill(self, values: Tensor) -> None:
        self._weight.copy_(values)

    def resting(self) -> Mapping[str, Resting]:
        return {}

    def expect(self, names: Collection[str]) -> None:
        pass


class Unpackable(Protocol):
    """A layer in the place of a linear one that holds its weight in another form."""

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weight [rows, columns] that forward computes with."""


class Keeping:
    """A model whose tensors a recipe keeps; recipes with more to do subclass it.

    What the forward pass reads is the model's ``state_dict``, on the compute device.
    """

    #: what whoever starts a run with this recipe should know; mostly nothing
    warning = ""

    def __init__(
        self, model: NanoChat, recipe: Recipe, setting: Setting, trained: Sequence[Kept]
    ) -> None:
        model.activation_checkpointing = setting.activation_checkpointing
        self.model = model
        self.recipe = recipe
        self.setting = setting
        #: what the optimizer updates
        self.trained = tuple(trained)
        self._by_name = {each.name: each for each in self.trained}

    def fill(self, name: str, values: Tensor) -> None:
        """Begin with float32 ``values``; ``name`` is NanoChat's own for that weight."""
        self._by_name[name].fill(values)

    def after_step(self, moment: Moment) -> Collection[str]:
        """All updates of a step are stored; returns whose optimizer state is to start from zero."""
        return ()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Each weight as the forward pass computes with it, in float32 under NanoChat's own name.

        One at a time: a packed one is unpacked for it.
        """
        with torch.device("meta"):
            names = [name for name, _ in NanoChat(self.model.spec).named_parameters()]
        for name in names:
            layer = self.model.get_submodule(name.removesuffix(".weight"))
            if isinstance(layer, nn.Linear | nn.Embedding):
                yield name, layer.weight.detach().float()
            else:
                yield name, cast(Unpackable, layer).unpacked(torch.float32)

    def drop_gradients(self) -> None:
        """Forget what backward has added up."""
        for each in self.trained:
            each.gradient.drop()
        self.model.zero_grad(set_to_none=True)

    def resting(self) -> dict[str, Resting]:
        """What must be saved besides the model's ``state_dict`` and the optimizer's moments."""
        found: dict[str, Resting] = {}
        for each in self.trained:
            found |= each.resting()
        return found

    def expect(self, names: Collection[str]) -> None:
        """A state with tensors ``names`` is about to be loaded."""
        for each in self.trained:
            each.expect(names)


def place(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Give parameters and buffers of ``module`` a device and a dtype, keeping real values.

    What is on the meta device comes out undefined, without ever being there in float32.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            moved = _placed(parameter.detach(), device, dtype)
            if moved is not None:
                setattr(part, name, nn.Parameter(moved))
        for name, buffer in part.named_buffers(recurse=False):
            moved = _placed(buffer, device, dtype)
            if moved is not None:
                setattr(part, name, moved)


def _placed(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor | None:
    """None when there is nothing to do, so that parameters stay the same objects."""
    if tensor.is_meta:
        return torch.empty(tensor.shape, device=device, dtype=dtype)
    if tensor.dtype == dtype and tensor.device.type == device.type:
        return None
    return tensor.to(device, dtype)
