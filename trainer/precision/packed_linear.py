"""PackedLinear: a linear layer that holds its weights packed, and nothing else.

The full-size weights exist only while a matmul reads them: they are unpacked for the forward
pass, again for the backward pass, and again where blocks are computed twice. The gradient is that
of the unpacked weights, handed straight through (arXiv 1308.3432) to whoever holds the master.
bitsandbytes' Linear4bit gives no weight gradient at all.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainer.precision.codecs.base import Codec


class Adder(Protocol):
    """Sums up the gradients of the micro-batches."""

    def add(self, gradient: Tensor) -> None:
        """Add what one micro-batch found."""


class PackedLinear(nn.Module):
    """``x @ weight.T`` for a weight [outputs, inputs] that lies packed in the module's buffers.

    It computes in autocast's dtype, and without autocast in that of its input.
    """

    def __init__(
        self, codec: Codec, shape: torch.Size, device: torch.device, gradient: Adder | None
    ) -> None:
        """The weights are undefined until ``pack``; without ``gradient`` they are frozen.

        Raises:
            ValueError: the codec cannot take this shape.
        """
        super().__init__()
        self.codec = codec
        self.shape = shape
        self._gradient = gradient
        for name, (size, dtype) in codec.layout(shape).items():
            self.register_buffer(name, torch.empty(size, dtype=dtype, device=device))
        # a node of the graph is made, and its backward run, only if something wants a gradient
        self._anchor = torch.zeros((), device="cpu", requires_grad=gradient is not None)

    @torch.no_grad()
    def pack(self, weight: Tensor) -> None:
        """Round float ``weight`` [outputs, inputs] into the buffers, on their device."""
        for name, part in self.codec.encode(weight).items():
            self.get_buffer(name).copy_(part)

    @torch.no_grad()
    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """The weights [outputs, inputs] that the packed ones stand for."""
        return self.codec.decode(dict(self.named_buffers()), self.shape, dtype)

    @torch.compiler.disable  # type: ignore[untyped-decorator] # torch's own
    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        autocast = torch.is_autocast_enabled(kind)
        flat = x.reshape(-1, x.size(-1)).to(torch.get_autocast_dtype(kind) if autocast else x.dtype)
        y: Tensor = _Unpacked.apply(flat, self._anchor, self)  # type: ignore[no-untyped-call] # torch leaves Function.apply untyped
        return y.view(*x.shape[:-1], self.shape[0])

    def add_gradient(self, gradient: Tensor) -> None:
        """Hand over the weights' gradient of one micro-batch."""
        if self._gradient is not None:
            self._gradient.add(gradient)

    @property
    def frozen(self) -> bool:
        """Whether the weights want no gradient."""
        return self._gradient is None


class _Unpacked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, layer: PackedLinear) -> Tensor:
        ctx.layer = layer
        if not layer.frozen:
            ctx.save_for_backward(x)
        return x @ layer.unpacked(x.dtype).T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        layer: PackedLinear = ctx.layer
        if not layer.frozen:
            (x,) = ctx.saved_tensors
            layer.add_gradient(gradient.T @ x)
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return gradient @ layer.unpacked(gradient.dtype), None, None
