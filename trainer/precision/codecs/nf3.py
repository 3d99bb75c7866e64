"""NF3: eight levels at the quantiles of a normal distribution, made as NF4's sixteen are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from trainer.precision.codecs.base import Layout, Packed, blocks_of, half, scaled

BLOCK = 64
#: NF4's outermost quantile (QLoRA, arXiv 2305.14314, in bitsandbytes' rounding)
_OUTERMOST = 0.9677083


def _levels() -> tuple[float, ...]:
    """Three below zero, zero, four above it; the outermost are -1 and 1."""

    def quantiles(count: int) -> list[float]:
        step = (_OUTERMOST - 0.5) / count
        return [NormalDist().inv_cdf(0.5 + step * (index + 1)) for index in range(count)]

    largest = quantiles(1)[0]
    above = [each / largest for each in quantiles(4)]
    below = [-each / largest for each in reversed(quantiles(3))]
    return (*below, 0.0, *above)


LEVELS = _levels()


@dataclass(frozen=True)
class Nf3:
    """Eight codes in three bytes and a float16 scale for 64 numbers: 3.25 bits a number.

    The scale is the largest magnitude of the block. Relative error of normal numbers: 0.20.
    """

    name: str = "nf3"

    def layout(self, shape: Sequence[int]) -> Layout:
        blocks = blocks_of(self, shape, BLOCK)
        return {
            "codes": ((blocks * BLOCK // 8 * 3,), torch.uint8),
            "scales": ((blocks,), torch.float16),
        }

    def encode(self, matrix: Tensor) -> dict[str, Tensor]:
        blocks = matrix.float().reshape(blocks_of(self, matrix.shape, BLOCK), BLOCK)
        scales = half(blocks.abs().amax(1))
        levels = torch.tensor(LEVELS, device=matrix.device)
        between = (levels[1:] + levels[:-1]) / 2
        relative = torch.where(scales[:, None] > 0, blocks / scales.float()[:, None], 0.0)
        return {
            "codes": _pack(torch.bucketize(relative, between, out_int32=True)),
            "scales": scales,
        }

    def decode(self, packed: Packed, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        triples = packed["codes"].view(-1, 3).int()
        first, second, third = triples.unbind(1)
        twelves = torch.stack((first | (second & 15) << 8, second >> 4 | third << 4), dim=1)
        levels = _table(packed["codes"].device).index_select(0, twelves.view(-1))
        return scaled(levels, packed["scales"], shape, dtype)


def _pack(codes: Tensor) -> Tensor:
    """int32 codes below 8 to bytes: eight codes are a 24-bit number, its lowest byte first."""
    eights = codes.view(-1, 8)
    number = torch.zeros_like(eights[:, 0])
    for place in range(8):
        number |= eights[:, place] << 3 * place
    return torch.stack([number >> 8 * byte & 255 for byte in range(3)], dim=1).byte().view(-1)


def _table(device: torch.device) -> Tensor:
    """The four levels of every 12-bit number [4096, 4]."""
    number = torch.arange(1 << 12, device=device)
    codes = torch.stack([number >> 3 * place & 7 for place in range(4)], dim=1)
    return torch.tensor(LEVELS, device=device)[codes]
