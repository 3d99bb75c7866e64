"""NF4: sixteen levels at the quantiles of a normal distribution (QLoRA, arXiv 2305.14314).

The arithmetic and the bytes are bitsandbytes' own, so that its users can load what we pack.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.bnb import functional
from trainer.precision.codecs.base import Layout, Packed, blocks_of

BLOCK = 64
#: maxima that share a scale when they are quantised themselves
MAXIMA_BLOCK = 256
_TYPE = "nf4"


@dataclass(frozen=True)
class Nf4:
    """Two codes a byte and the largest magnitude of each block of 64 numbers.

    The maxima are float32 (4.5 bits a number), or with ``double`` 8-bit with a float32 scale for
    256 of them (4.13 bits). Relative error of normal numbers: 0.092.
    """

    double: bool = False

    @property
    def name(self) -> str:
        return "nf4-double" if self.double else "nf4"

    def layout(self, shape: Sequence[int]) -> Layout:
        blocks = blocks_of(self, shape, BLOCK)
        codes: Layout = {"codes": ((blocks * BLOCK // 2,), torch.uint8)}
        if not self.double:
            return codes | {"maxima": ((blocks,), torch.float32)}
        return codes | {
            "maxima": ((blocks,), torch.uint8),
            "maxima_scales": ((-(-blocks // MAXIMA_BLOCK),), torch.float32),
            "maxima_mean": ((1,), torch.float32),
        }

    def encode(self, matrix: Tensor) -> dict[str, Tensor]:
        blocks_of(self, matrix.shape, BLOCK)
        codes, state = functional().quantize_4bit(
            matrix.float().contiguous(),
            blocksize=BLOCK,
            compress_statistics=self.double,
            quant_type=_TYPE,
        )
        packed = {"codes": codes.view(-1), "maxima": state.absmax}
        if self.double:
            packed["maxima_scales"] = state.state2.absmax
            packed["maxima_mean"] = state.offset.view(1)
        return packed

    def decode(self, packed: Packed, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        # bitsandbytes unpacks to no wider type than float32
        state = quant_state(packed, shape, torch.float32 if dtype == torch.float64 else dtype)
        matrix: Tensor = functional().dequantize_4bit(packed["codes"].view(-1, 1), state)
        return matrix.to(dtype)


def quant_state(packed: Packed, shape: Sequence[int], dtype: torch.dtype) -> Any:
    """bitsandbytes' QuantState: what stands beside the codes. It unpacks to ``dtype``."""
    bnb = functional()
    maxima = packed["maxima"]
    nested = "maxima_scales" in packed
    state = bnb.QuantState(
        absmax=maxima,
        shape=torch.Size(shape),
        code=bnb.get_4bit_type(_TYPE, device=maxima.device),
        blocksize=BLOCK,
        quant_type=_TYPE,
        dtype=dtype,
    )
    if nested:
        state.offset = packed["maxima_mean"].view(())
        state.state2 = bnb.QuantState(
            absmax=packed["maxima_scales"],
            code=torch.tensor(_maxima_map(), device=maxima.device),
            blocksize=MAXIMA_BLOCK,
            dtype=torch.float32,
        )
        state.nested = True
    return state


@functools.cache
def _maxima_map() -> tuple[float, ...]:
    """The 256 values that quantised maxima can have, before scale and mean."""
    return tuple(functional().create_dynamic_map().tolist())
