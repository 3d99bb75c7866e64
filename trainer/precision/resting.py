"""Where a tensor rests between two optimizer steps: on the compute device, or parked on the host.

A parked tensor is streamed through the device, one matrix at a time: at d32 that is a few GB a
step over PCIe, well under a second of a step that takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Resting:
    """A tensor that outlives the step. ``tensor`` is live: checkpoints read it, loads write it."""

    tensor: Tensor
    device: torch.device
    parked: bool

    def fetch(self) -> Tensor:
        """The values on the compute device: a copy when parked, else the tensor itself."""
        if not self.parked:
            return self.tensor
        return self.tensor.to(self.device, copy=True)

    def put_back(self, values: Tensor) -> None:
        """Let changed ``values`` of the same shape and dtype rest again."""
        if values is not self.tensor:
            self.tensor.copy_(values)


@dataclass(frozen=True)
class Shelf:
    """Makes resting tensors for one compute device, all of them parked or none."""

    device: torch.device
    parked: bool

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> Resting:
        """A new tensor of zeros."""
        if not self.parked:
            tensor = torch.zeros(*shape, dtype=dtype, device=self.device)
        else:
            tensor = _host_zeros(shape, dtype, pin=self.device.type == "cuda")
        return Resting(tensor, self.device, self.parked)


def _host_zeros(shape: Sequence[int], dtype: torch.dtype, *, pin: bool) -> Tensor:
    if pin:
        try:
            return torch.zeros(*shape, dtype=dtype, device="cpu", pin_memory=True)
        except RuntimeError:
            # WSL2 and small ulimits allow little pinned memory; pageable memory is only slower
            pass
    return torch.zeros(*shape, dtype=dtype, device="cpu")
