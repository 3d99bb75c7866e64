"""Quantized: a weight whose forward pass sees only a packed copy, rounded from a master elsewhere.

Quantisation-aware training: the master learns from the gradient of the packed copy, handed
straight through, and is packed anew after each update. The card holds less than 5 bits a number;
the master's 24 bits rest on the host, where a run parks its state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from trainer.model import Linear, NanoChat
from trainer.precision import rounding
from trainer.precision.base import Recipe, Setting
from trainer.precision.blocks import replace_linears
from trainer.precision.codecs import Codec
from trainer.precision.gradients import Gradient, OnDevice, OnHost
from trainer.precision.kept import ALL_ROWS, Keeping, Kept, Moment, place
from trainer.precision.packed_linear import PackedLinear
from trainer.precision.resting import Resting, Shelf
from trainer.precision.rounded import Rounded

#: the weights to begin with are rounded by a stream of their own, before step 0
_BEFORE = -1


class Quantized:
    """Its master is bf16 with an 8-bit residual, 24 bits in all, or bf16 alone on request.

    Updates are rounded to it stochastically, as in ``Rounded``. What is packed is the master as
    it was stored, so the packed copy is a function of the master alone.
    """

    lr_factor = 1.0

    def __init__(
        self, name: str, layer: PackedLinear, gradient: Gradient, setting: Setting
    ) -> None:
        self.name = name
        self.shape = layer.shape
        self.gradient = gradient
        self._layer = layer
        self._seed = setting.seed
        shelf = Shelf(setting.device, setting.parked)
        self._high = shelf.zeros(self.shape, torch.bfloat16)
        self._low = None if setting.residual == "off" else shelf.zeros(self.shape, torch.int8)
        self._device = setting.device
        self._stale = False

    def age(self, step: int) -> int:
        return step

    def master(self, rows: slice = ALL_ROWS) -> Tensor:
        high = self._high.fetch(rows)
        if self._low is None:
            return high.float()
        return rounding.join_24_bits(high, self._low.fetch(rows))

    def store(self, values: Tensor, moment: Moment, rows: slice = ALL_ROWS) -> None:
        self._round(values, moment.step, rows)
        self._stale = True
        if values.size(0) == self.shape[0]:
            self.repack()

    def repack(self) -> None:
        """Pack the master if it has changed since; codecs want the whole of it."""
        if self._stale:
            self._layer.pack(self.master())
            self._stale = False

    def fill(self, values: Tensor) -> None:
        self._round(values.to(self._device), _BEFORE, ALL_ROWS)
        self._layer.pack(self.master())

    def resting(self) -> Mapping[str, Resting]:
        if self._low is None:
            return {f"master.{self.name}": self._high}
        return {f"master.{self.name}": self._high, f"master_residual.{self.name}": self._low}

    def expect(self, names: Collection[str]) -> None:
        pass

    def _round(self, values: Tensor, step: int, rows: slice) -> None:
        key = rounding.stream_key(self._seed, step, self.name)
        first = (rows.start or 0) * self.shape[1]
        high = torch.empty_like(values, dtype=torch.bfloat16)
        if self._low is None:
            rounding.round_to_bf16(values, key, first, high)
        else:
            low = torch.empty_like(values, dtype=torch.int8)
            rounding.split_to_24_bits(values, key, first, high, low)
            self._low.put_back(low, rows)
        self._high.put_back(high, rows)


class QuantizedKeeping(Keeping):
    """Packs what was updated in parts once all of it is stored."""

    def after_step(self, moment: Moment) -> Collection[str]:
        for each in self.trained:
            if isinstance(each, Quantized):
                each.repack()
        return ()


def keep_quantized(
    model: NanoChat, recipe: Recipe, setting: Setting, codec_of: Callable[[str], Codec]
) -> Keeping:
    """Each matrix of the blocks packed as ``codec_of`` its name; embedding and head in bf16."""
    names = [name for name, _ in model.named_parameters()]
    trained: dict[str, Kept] = {}

    def make(name: str, layer: Linear) -> PackedLinear:
        gradient = OnHost(setting.device) if setting.host_gradients else OnDevice(torch.bfloat16)
        packed = PackedLinear(codec_of(name), layer.weight.shape, setting.device, gradient)
        trained[name] = Quantized(name, packed, gradient, setting)
        return packed

    replace_linears(model, make)
    for part in (model.transformer.wte, model.lm_head, model.rope):
        place(part, setting.device, torch.bfloat16)
    model.rope.fill()
    for name, parameter in model.named_parameters():
        trained[name] = Rounded(name, parameter, setting)
    return QuantizedKeeping(model, recipe, setting, [trained[name] for name in names])
