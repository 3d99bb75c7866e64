"""SEQ: four levels without a zero, the grid that serves two bits best (ParetoQ, arXiv 2502.02631).

ParetoQ learns the scale; here it follows from the numbers themselves at every packing, so that a
packed matrix is a function of its master and of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.precision.codecs.base import Layout, Packed, blocks_of, half, scaled

BLOCK = 64
#: distance of four evenly spaced levels that suit a normal distribution of deviation 1 best
#: (J. Max, "Quantizing for minimum distortion", 1960)
_NORMAL_STEP = 0.9957


@dataclass(frozen=True)
class Seq2:
    """Levels -1.5, -0.5, 0.5, 1.5 times a float16 scale for 64 numbers: 2.25 bits a number.

    The scale begins as the best one for normal numbers, and is then the one of least squares for
    the levels that were chosen with it. Relative error of normal numbers: 0.34.
    """

    name: str = "seq2"

    def layout(self, shape: Sequence[int]) -> Layout:
        blocks = blocks_of(self, shape, BLOCK)
        return {
            "codes": ((blocks * BLOCK // 4,), torch.uint8),
            "scales": ((blocks,), torch.float16),
        }

    def encode(self, matrix: Tensor) -> dict[str, Tensor]:
        blocks = matrix.float().reshape(blocks_of(self, matrix.shape, BLOCK), BLOCK)
        normal = _NORMAL_STEP * blocks.square().mean(1).sqrt()
        levels = _codes(blocks, normal) - 1.5
        scales = half((blocks * levels).sum(1) / levels.square().sum(1))
        fours = _codes(blocks, scales.float()).to(torch.uint8).view(-1, 4)
        first, second, third, fourth = fours.unbind(1)
        return {"codes": first | second << 2 | third << 4 | fourth << 6, "scales": scales}

    def decode(self, packed: Packed, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        byte = torch.arange(256, device=packed["codes"].device)
        table = torch.stack([byte >> 2 * place & 3 for place in range(4)], dim=1) - 1.5
        levels = table.index_select(0, packed["codes"].int())
        return scaled(levels, packed["scales"], shape, dtype)


def _codes(blocks: Tensor, scales: Tensor) -> Tensor:
    """0 to 3 in float32, the nearest level of each number; 2 where the scale is 0."""
    relative = torch.where(scales[:, None] > 0, blocks / scales[:, None], 0.0)
    return relative.floor_().clamp_(-2, 1).add_(2)
