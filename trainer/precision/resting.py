"""Where a tensor rests between two optimizer steps: on the compute device, or parked on the host.

A parked tensor is streamed through the device, one matrix at a time: at d32 that is a few GB a
step over PCIe, well under a second of a step that takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_ALL = slice(None)


@dataclass(frozen=True)
class Resting:
    """A tensor that outlives the step. ``tensor`` is live: checkpoints read it, loads write it."""

    tensor: Tensor
    device: torch.device
    parked: bool

    def fetch(self, rows: slice = _ALL) -> Tensor:
        """The values on the compute device: a copy when parked, else the tensor itself."""
        values = self.tensor[rows]
        return values.to(self.device, copy=True) if self.parked else values

    def put_back(self, values: Tensor, rows: slice = _ALL) -> None:
        """Let changed ``values`` of these rows, of the tensor's dtype, rest again."""
        if values.data_ptr() != self.tensor[rows].data_ptr():
            self.tensor[rows].copy_(values)


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
