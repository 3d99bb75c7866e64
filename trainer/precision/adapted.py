"""AdaptedLinear: a packed base that never changes by itself, and a trained adapter on top of it.

The weight is Q + P B (trainer/precision/lowrank.py has the letters). It is unpacked and added up
anew for each use: that costs R / tokens of the matmul it is for, while multiplying by P and B one
after the other would cost half of it again at a rank of a quarter of the width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainer.precision.codecs.base import Codec
from trainer.precision.gradients import OnDevice
from trainer.precision.lowrank import probes, sketch_columns

#: what weights are unpacked to and multiplied in
DTYPE = torch.bfloat16


class AdaptedLinear(nn.Module):
    """A matrix without bias; of its tensors only ``adapter`` has a gradient."""

    def __init__(
        self, shape: tuple[int, int], rank: int, codec: Codec, device: torch.device
    ) -> None:
        super().__init__()
        #: rows and columns of the weight: outputs and inputs
        self.shape = shape
        self.short, self.long = sorted(shape)
        #: a weight that stands is trained lying down
        self.stands = shape[0] > shape[1]
        self.codec = codec
        for part, (size, dtype) in codec.layout(shape).items():
            self.register_buffer(part, torch.zeros(size, dtype=dtype, device=device))
        rank = min(rank, self.short)
        self.register_buffer(
            "projection", torch.zeros(self.short, rank, dtype=DTYPE, device=device)
        )
        self.adapter = nn.Parameter(torch.zeros(rank, self.long, dtype=DTYPE, device=device))
        #: gives the seed of a step whose backward passes sketch the gradient; None in all others
        self.sketch_seed: Callable[[], int | None] = lambda: None
        #: the gradient [S, L] times random probes, summed up over such a step
        self.sketch = OnDevice(DTYPE)

    projection: Tensor

    @torch.compiler.disable  # type: ignore[untyped-decorator] # torch's own
    def forward(self, x: Tensor) -> Tensor:
        """[..., columns] to [..., rows] in bf16, whatever comes in."""
        product: Tensor = _Product.apply(x.to(DTYPE), self.adapter, self)  # type: ignore[no-untyped-call] # torch leaves Function.apply untyped
        return product

    @torch.no_grad()
    def unpacked(self, dtype: torch.dtype = DTYPE) -> Tensor:
        """Q + P B [rows, columns], a new tensor."""
        base = self.base(dtype)
        left, right = self.projection.to(dtype), self.adapter.to(dtype)
        if self.stands:
            left, right = right.mT, left.mT
        return base.addmm_(left, right)

    def base(self, dtype: torch.dtype) -> Tensor:
        """Q alone [rows, columns], a new tensor."""
        parts = {part: self.get_buffer(part) for part in self.codec.layout(self.shape)}
        return self.codec.decode(parts, self.shape, dtype)

    def pack(self, matrix: Tensor) -> None:
        """Make ``matrix``, lying down [S, L], the base."""
        upright = matrix.mT.contiguous() if self.stands else matrix
        for part, values in self.codec.encode(upright).items():
            self.get_buffer(part).copy_(values)

    def packed(self, matrix: Tensor) -> Tensor:
        """What would be left of ``matrix`` [S, L] in float32 if it were the base."""
        upright = matrix.mT.contiguous() if self.stands else matrix
        left = self.codec.decode(self.codec.encode(upright), self.shape, torch.float32)
        return left.mT if self.stands else left


class _Product(torch.autograd.Function):
    """x W^T; keeps x alone and builds W a second time for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, adapter: Tensor, layer: AdaptedLinear) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = layer
        return x @ layer.unpacked().mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (x,) = ctx.saved_tensors
        layer: AdaptedLinear = ctx.layer
        gradient = gradient.to(DTYPE)
        # the gradient of the lying weight is short^T long: it is never there as a whole
        short, long = gradient.flatten(0, -2), x.flatten(0, -2)
        if layer.stands:
            short, long = long, short
        seed = layer.sketch_seed()
        if seed is not None:
            columns = sketch_columns(layer.adapter.size(0), layer.short)
            layer.sketch.add(short.mT @ (long @ probes(long.size(1), columns, seed, x.device)))
        adapter_gradient = (short @ layer.projection).mT @ long
        return gradient @ layer.unpacked(), adapter_gradient, None
