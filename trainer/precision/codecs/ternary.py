"""Ternary: minus, zero or plus (ternary weight networks, arXiv 1605.04711)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from trainer.precision.codecs.base import Layout, Packed, blocks_of, half, scaled

BLOCK = 128
#: distance of three evenly spaced levels that suit a normal distribution of deviation 1 best
#: (J. Max, "Quantizing for minimum distortion", 1960)
_NORMAL_STEP = 1.2240
#: ternary digits that fit into a byte: 3^5 = 243
_DIGITS = 5


@dataclass(frozen=True)
class Ternary:
    """Five codes in a byte and a float16 scale for 128 numbers: 1.73 bits a number.

    The scale begins as the best one for normal numbers, and is then the one of least squares for
    the levels that were chosen with it. Relative error of normal numbers: 0.43.
    """

    name: str = "ternary"

    def layout(self, shape: Sequence[int]) -> Layout:
        blocks = blocks_of(self, shape, BLOCK)
        return {
            "codes": ((-(-blocks * BLOCK // _DIGITS),), torch.uint8),
            "scales": ((blocks,), torch.float16),
        }

    def encode(self, matrix: Tensor) -> dict[str, Tensor]:
        blocks = matrix.float().reshape(blocks_of(self, matrix.shape, BLOCK), BLOCK)
        normal = _NORMAL_STEP * blocks.square().mean(1).sqrt()
        signs = _signs(blocks, normal)
        scales = half((blocks * signs).sum(1) / signs.abs().sum(1).clamp_min(1))
        digits = _signs(blocks, scales.float()).add_(1).to(torch.uint8).view(-1)
        fives = F.pad(digits, (0, -digits.numel() % _DIGITS)).view(-1, _DIGITS)
        powers = torch.tensor([3**place for place in range(_DIGITS)], dtype=torch.uint8)
        return {
            "codes": (fives * powers.to(fives.device)).sum(1, dtype=torch.uint8),
            "scales": scales,
        }

    def decode(self, packed: Packed, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        byte = torch.arange(3**_DIGITS, device=packed["codes"].device)
        digits = [byte // 3**place % 3 - 1 for place in range(_DIGITS)]
        table = torch.stack(digits, dim=1).float()
        signs = table.index_select(0, packed["codes"].int()).view(-1)
        numbers = packed["scales"].numel() * BLOCK
        return scaled(signs[:numbers], packed["scales"], shape, dtype)


def _signs(blocks: Tensor, scales: Tensor) -> Tensor:
    """-1, 0 or 1 in float32, the nearest level of each number; 0 where the scale is 0."""
    relative = torch.where(scales[:, None] > 0, blocks / scales[:, None], 0.0)
    return relative.round_().clamp_(-1, 1)
