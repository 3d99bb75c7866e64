"""int8: bf16-8bit whose blocks multiply in int8, the only road past the bf16 peak on Ada.

Weights, gradients and state are those of bf16-8bit to the byte. The head stays in bf16: its
logits decide the loss directly, its gradient is the one that the softmax makes sharpest, and it
is a small part of the matmuls (a thirteenth at d32).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.model import Linear, NanoChat
from trainer.precision.base import Setting
from trainer.precision.bf16_8bit import Bf16With8Bit
from trainer.precision.blocks import replace_linears
from trainer.precision.int8_matmul import int8_linear
from trainer.precision.kept import Keeping


@dataclass(frozen=True)
class Int8(Bf16With8Bit):
    """int8 matmuls in forward, input gradient and weight gradient of the blocks' layers."""

    name: str = "int8"

    def prepare(self, model: NanoChat, setting: Setting) -> Keeping:
        """As bf16-8bit, with other layers around the same weights."""
        replace_linears(model, lambda name, layer: Int8Linear(layer))
        return super().prepare(model, setting)


class Int8Linear(Linear):
    """A layer whose three matmuls run in int8; its result has the dtype of its weight."""

    def __init__(self, layer: Linear) -> None:
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features)
        self.weight = layer.weight

    def forward(self, x: Tensor) -> Tensor:
        return int8_linear(x, self.weight)
