"""Where the gradient of one trained tensor is summed up over the micro-batches of a step."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class Gradient(Protocol):
    """What backward has added up so far."""

    @property
    def on_host(self) -> bool:
        """Whether the sum lies in host memory rather than on the compute device."""

    def sum(self) -> Tensor | None:
        """The sum on the compute device, to be used up by the caller; None before any backward."""

    def drop(self) -> None:
        """Forget the sum: the step is over."""

    def size_bytes(self) -> int:
        """Bytes that the sum occupies now."""


class OfParameter:
    """torch's own ``.grad``, in the parameter's dtype on its device."""

    on_host = False

    def __init__(self, parameter: nn.Parameter) -> None:
        self._parameter = parameter

    def sum(self) -> Tensor | None:
        return self._parameter.grad

    def drop(self) -> None:
        self._parameter.grad = None

    def size_bytes(self) -> int:
        grad = self._parameter.grad
        return 0 if grad is None else grad.numel() * grad.element_size()


class OnDevice:
    """A sum that an autograd function adds to by itself, in ``dtype`` on the compute device."""

    on_host = False

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._sum: Tensor | None = None

    def add(self, gradient: Tensor) -> None:
        """Add what one micro-batch found; ``gradient`` belongs to this object from now on."""
        if self._sum is None:
            self._sum = gradient.to(self._dtype)
        else:
            self._sum += gradient

    def sum(self) -> Tensor | None:
        return self._sum

    def drop(self) -> None:
        self._sum = None

    def size_bytes(self) -> int:
        return 0 if self._sum is None else self._sum.numel() * self._sum.element_size()


class OnHost:
    """A float32 sum in host memory; the device keeps a gradient only until it has been sent."""

    on_host = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sum: Tensor | None = None
        self._empty = True

    def follow(self, parameter: nn.Parameter) -> None:
        """Take over whatever autograd accumulates in ``parameter.grad`` from now on."""

        def take(ready: Tensor) -> None:
            assert ready.grad is not None
            self.add(ready.grad)
            ready.grad = None

        parameter.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call] # torch's own

    def add(self, gradient: Tensor) -> None:
        """Add what one micro-batch found."""
        if self._sum is None:
            self._sum = torch.empty(gradient.shape, dtype=torch.float32, device="cpu")
        if self._empty:
            self._sum.copy_(gradient)
            self._empty = False
        else:
            self._sum += gradient.to("cpu")

    def sum(self) -> Tensor | None:
        if self._sum is None or self._empty:
            return None
        return self._sum.to(self._device, copy=True)

    def drop(self) -> None:
        # the buffer stays: it is as large in every step
        self._empty = True

    def size_bytes(self) -> int:
        return 0 if self._sum is None else self._sum.numel() * self._sum.element_size()


def of_parameter(parameter: nn.Parameter, *, on_host: bool) -> Gradient:
    """The gradient of a parameter that autograd knows, summed up where the run wants it."""
    if not on_host:
        return OfParameter(parameter)
    gradient = OnHost(parameter.device)
    gradient.follow(parameter)
    return gradient
