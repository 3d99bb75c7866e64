"""Codec: a packed format for a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

#: the tensors of one packed matrix by their part's name
Packed = Mapping[str, Tensor]
#: size and dtype of each part
Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]


class Codec(Protocol):
    """A format in which a matrix is a few tensors of less than 16 bits a number.

    Blocks of numbers that share a scale follow one another as the matrix lies in memory, row by
    row. Everything is a pure function: the same matrix gives the same bytes.
    """

    @property
    def name(self) -> str:
        """Of the format."""

    def layout(self, shape: Sequence[int]) -> Layout:
        """What a matrix of ``shape`` becomes.

        Raises:
            ValueError: it has a size that the format cannot take.
        """

    def encode(self, matrix: Tensor) -> dict[str, Tensor]:
        """Round a float ``matrix`` [rows, columns] to the format; ``layout`` says what comes out.

        Raises:
            ValueError: as ``layout``.
        """

    def decode(self, packed: Packed, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The matrix [rows, columns] that ``packed`` stands for, computed in float32."""


def packed_bytes(codec: Codec, shape: Sequence[int]) -> int:
    """Bytes that a matrix of ``shape`` occupies, in memory as on disk."""
    parts = codec.layout(shape).values()
    return sum(math.prod(size) * dtype.itemsize for size, dtype in parts)


def bits_per_number(codec: Codec, shape: Sequence[int]) -> float:
    """The same in bits for each of its numbers, scales included."""
    return 8 * packed_bytes(codec, shape) / math.prod(shape)


def blocks_of(codec: Codec, shape: Sequence[int], block: int) -> int:
    """How many blocks of ``block`` numbers a matrix has.

    Raises:
        ValueError: it is no matrix, is empty, or a block would not be full.
    """
    numbers = math.prod(shape)
    if len(shape) != 2 or not numbers or numbers % block:
        raise ValueError(
            f"{codec.name} packs matrices in blocks of {block} numbers; "
            f"{list(shape)} is no whole number of blocks"
        )
    return numbers // block


def scaled(levels: Tensor, scales: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """``levels`` of any shape times one of ``scales`` [blocks] for each block."""
    blocks = levels.view(scales.numel(), -1)
    return (blocks * scales.float()[:, None]).to(dtype).view(*shape)


def half(scales: Tensor) -> Tensor:
    """``scales`` [blocks] in float16; too large ones become the largest there is."""
    return scales.clamp(max=torch.finfo(torch.float16).max).to(torch.float16)
