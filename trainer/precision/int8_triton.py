"""The int8 matmul and its quantisation as Triton kernels. Import it only where CUDA is used.

The matmul multiplies its scales back before anything is written, so the int32 sums never travel
through memory. What is summed over is a constant of each compiled kernel: a model has few such
sizes. The quantisation turns its operand while it is at it, so that each of the three
matmuls of a layer reads both of its operands along the sum, as int8 tensor cores want them.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from trainer.precision.int8_matmul import LEVELS

#: adding and taking away 1.5 * 2^23 rounds a small float32 to the nearest even whole number
_ROUNDER = tl.constexpr(12_582_912.0)
_LEVELS = tl.constexpr(float(LEVELS))
_ROWS, _COLUMNS = 32, 128

#: tiles that suit consumer cards from Ampere to Blackwell (100 KiB of shared memory a block)
TILES = (
    triton.Config({"TILE_M": 128, "TILE_N": 128, "TILE_K": 64}, num_warps=4, num_stages=4),
    triton.Config({"TILE_M": 128, "TILE_N": 256, "TILE_K": 64}, num_warps=8, num_stages=3),
    triton.Config({"TILE_M": 256, "TILE_N": 128, "TILE_K": 64}, num_warps=8, num_stages=3),
    triton.Config({"TILE_M": 128, "TILE_N": 128, "TILE_K": 128}, num_warps=8, num_stages=3),
    triton.Config({"TILE_M": 64, "TILE_N": 64, "TILE_K": 64}, num_warps=4, num_stages=4),
)


def scaled_product(
    left: Tensor, left_scales: Tensor, right: Tensor, right_scales: Tensor, dtype: torch.dtype
) -> Tensor:
    """``left @ right.T`` [M, N] times both scales in ``dtype``; int8 [M, K] and [N, K] row by row.

    Whichever tile the tuning picks, the bits are the same: whole numbers are summed.
    """
    (rows, inner), columns = left.shape, right.size(0)
    result = torch.empty(rows, columns, dtype=dtype, device=left.device)

    def grid(tile: dict[str, Any]) -> tuple[int]:
        return (triton.cdiv(rows, tile["TILE_M"]) * triton.cdiv(columns, tile["TILE_N"]),)

    # tiles are timed once for every power of two of rows: a chat has prompts of any length
    doublings = rows.bit_length()
    _product_kernel[grid](
        left, left_scales, right, right_scales, result, rows, columns, inner, doublings, BAND=8
    )
    return result


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """As ``int8_matmul.quantize_rows``, in one kernel that reads ``matrix`` twice."""
    rows, columns = matrix.shape
    codes = torch.empty(rows, columns, dtype=torch.int8, device=matrix.device)
    scales = torch.empty(rows, dtype=torch.float32, device=matrix.device)
    grid = (triton.cdiv(rows, _ROWS),)
    _quantize_kernel[grid](
        matrix, codes, scales, rows, columns, *matrix.stride(), ROWS=_ROWS, COLUMNS=_COLUMNS
    )
    return codes, scales


@triton.jit  # type: ignore[untyped-decorator] # Triton is untyped
def _quantize_kernel(  # type: ignore[no-untyped-def] # Triton reads it, not Python
    matrix,
    codes,
    scales,
    rows,
    columns: tl.constexpr,
    matrix_row,
    matrix_column,
    ROWS: tl.constexpr,  # noqa: N803 - Triton's way to write constants
    COLUMNS: tl.constexpr,  # noqa: N803
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    peak = tl.zeros((ROWS,), dtype=tl.float32)
    broken = tl.zeros((ROWS,), dtype=tl.float32)
    for start in range(0, columns, COLUMNS):
        at = start + column
        inside = (row < rows)[:, None] & (at < columns)[None, :]
        place = row[:, None] * matrix_row + at[None, :] * matrix_column
        value = tl.load(matrix + place, mask=inside, other=0.0).to(tl.float32)
        peak = tl.maximum(peak, tl.max(tl.abs(value), axis=1))
        # a NaN is lost in a maximum, but not in a sum of zeros
        broken += tl.sum(value * 0.0, axis=1)
    scale = peak / _LEVELS + broken
    tl.store(scales + row, scale, mask=row < rows)
    rate = tl.where(peak > 0, _LEVELS / tl.where(peak > 0, peak, 1.0), 0.0)
    for start in range(0, columns, COLUMNS):
        at = start + column
        inside = (row < rows)[:, None] & (at < columns)[None, :]
        place = row[:, None] * matrix_row + at[None, :] * matrix_column
        value = tl.load(matrix + place, mask=inside, other=0.0).to(tl.float32)
        rounded = (value * rate[:, None] + _ROUNDER) - _ROUNDER
        code = tl.minimum(tl.maximum(rounded, -_LEVELS), _LEVELS).to(tl.int8)
        tl.store(codes + row[:, None] * columns + at[None, :], code, mask=inside)


@triton.autotune(configs=list(TILES), key=["doublings", "columns", "inner"])  # type: ignore[untyped-decorator] # Triton is untyped
@triton.jit  # type: ignore[untyped-decorator] # Triton is untyped
def _product_kernel(  # type: ignore[no-untyped-def] # Triton reads it, not Python
    left,
    left_scales,
    right,
    right_scales,
    result,
    rows,
    columns,
    inner: tl.constexpr,
    doublings,
    TILE_M: tl.constexpr,  # noqa: N803 - Triton's way to write constants
    TILE_N: tl.constexpr,  # noqa: N803
    TILE_K: tl.constexpr,  # noqa: N803
    BAND: tl.constexpr,  # noqa: N803
):
    # programs walk down bands of BAND tile rows, so that neighbours share what the cache holds
    tiles_down, tiles_across = tl.cdiv(rows, TILE_M), tl.cdiv(columns, TILE_N)
    program = tl.program_id(0)
    band = program // (BAND * tiles_across)
    band_rows = min(tiles_down - band * BAND, BAND)
    within = program % (BAND * tiles_across)
    row = ((band * BAND + within % band_rows) * TILE_M + tl.arange(0, TILE_M)).to(tl.int64)
    column = ((within // band_rows) * TILE_N + tl.arange(0, TILE_N)).to(tl.int64)

    sums = tl.zeros((TILE_M, TILE_N), dtype=tl.int32)
    for start in range(0, inner, TILE_K):
        at = start + tl.arange(0, TILE_K)
        left_place = row[:, None] * inner + at[None, :]
        right_place = at[:, None] + column[None, :] * inner
        left_inside = (row < rows)[:, None] & (at < inner)[None, :]
        right_inside = (at < inner)[:, None] & (column < columns)[None, :]
        left_tile = tl.load(left + left_place, mask=left_inside, other=0)
        right_tile = tl.load(right + right_place, mask=right_inside, other=0)
        sums = tl.dot(left_tile, right_tile, sums, out_dtype=tl.int32)

    left_scale = tl.load(left_scales + row, mask=row < rows, other=0.0)
    right_scale = tl.load(right_scales + column, mask=column < columns, other=0.0)
    scaled = sums.to(tl.float32) * left_scale[:, None] * right_scale[None, :]
    place = row[:, None] * columns + column[None, :]
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    tl.store(result + place, scaled.to(result.dtype.element_ty), mask=inside)
