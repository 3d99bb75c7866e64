"""Optimizer state of one matrix: how a running mean is kept from one step to the next."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from trainer.bnb import functional
from trainer.precision.resting import Resting, Shelf

#: numbers that share one scale (bitsandbytes' own default for optimizer state)
BLOCK = 256


class Momentum(Protocol):
    """A float32 mean [rows, columns] between two steps."""

    def fetch(self) -> Tensor:
        """The mean on the compute device, to be changed in place."""

    def put_back(self, mean: Tensor) -> None:
        """Keep the changed mean."""

    def clear(self) -> None:
        """Start from zero."""

    def resting(self) -> Mapping[str, Resting]:
        """Its tensors by what they are: "" for the numbers, "scale" for what they are times."""


class FloatMomentum:
    """The mean as it is, in the dtype of its weight."""

    def __init__(self, shape: torch.Size, dtype: torch.dtype, shelf: Shelf) -> None:
        self._mean = shelf.zeros(shape, dtype)

    def fetch(self) -> Tensor:
        return self._mean.fetch()

    def put_back(self, mean: Tensor) -> None:
        self._mean.put_back(mean)

    def clear(self) -> None:
        self._mean.tensor.zero_()

    def resting(self) -> Mapping[str, Resting]:
        return {"": self._mean}


class Int8Momentum:
    """Eight bits a number on a linear scale, one float32 scale for every 256.

    Muon orthogonalises its momentum, which wants small numbers exact in absolute terms: a linear
    map keeps its direction best ("Effective Quantization of Muon Optimizer States", arXiv
    2509.23106). Quantised by bitsandbytes.
    """

    def __init__(self, shape: torch.Size, shelf: Shelf) -> None:
        self._shape = shape
        self._codes = shelf.zeros(shape, torch.uint8)
        self._scales = shelf.zeros((-(-shape.numel() // BLOCK),), torch.float32)
        self.clear()

    def fetch(self) -> Tensor:
        codes = self._codes.fetch()
        mean: Tensor = functional().dequantize_blockwise(
            codes.flatten(), absmax=self._scales.fetch(), code=linear_map(codes.device),
            blocksize=BLOCK,
        )  # fmt: skip
        return mean.view(self._shape)

    def put_back(self, mean: Tensor) -> None:
        codes, state = functional().quantize_blockwise(
            mean.flatten(), code=linear_map(mean.device), blocksize=BLOCK
        )
        self._codes.put_back(codes.view(self._shape))
        self._scales.put_back(state.absmax)

    def clear(self) -> None:
        # with scales of zero every code means zero, but only one code is what zero is stored as
        self._codes.tensor.fill_(_zero_code())
        self._scales.tensor.zero_()

    def resting(self) -> Mapping[str, Resting]:
        return {"": self._codes, "scale": self._scales}


@functools.cache
def linear_map(device: torch.device) -> Tensor:
    """The 256 values of bitsandbytes' signed linear map on ``device``."""
    table: Tensor = functional().create_linear_map(signed=True)
    return table.to(device)


def _zero_code() -> int:
    return int((linear_map(torch.device("cpu")) == 0).nonzero()[0])
