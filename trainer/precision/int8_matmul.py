"""Linear layers whose three matmuls run on int8 tensor cores.

torchao's INT8 mixed-precision training (pytorch/ao, ``quantized_training``): both operands are
quantised on the fly, each with one scale for every row along which nothing is summed, the
products are summed in int32, exactly, and the scales multiplied back in float32. Weights stay as
they are. On Ada int8 runs at four times the rate of bf16 with float32 sums; torchao measured 1.68
times the tokens per second on a 4070 Ti SUPER.

Letters for shapes: M rows of the input, K inputs, N outputs.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

#: int8 codes run from -127 to 127, so that the grid is symmetric
LEVELS = 127
#: products summed in one go: 127 * 127 * 2^17 stays below 2^31
LONGEST_SUM = 1 << 17
#: what cuBLAS asks of the sizes (torch._int_mm on CUDA): K and N multiples of it, M above 16
_CUBLAS_MULTIPLE = 8
_CUBLAS_ROWS = 32


def int8_linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T`` [..., N] in the dtype of ``weight``, for ``x`` [..., K], ``weight`` [N, K].

    Input and weight gradient are int8 matmuls, too. Scales differ by matmul: for each of the
    three, every operand has one for each of its rows (or columns) that outlive the sum. What is
    not finite in an operand is not finite in all that depends on it.
    """
    flat = x.reshape(-1, x.size(-1))
    y: Tensor = _Int8Linear.apply(flat, weight)  # type: ignore[no-untyped-call] # torch leaves Function.apply untyped
    return y.view(*x.shape[:-1], weight.size(0))


class _Int8Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rounded = x.to(weight.dtype)
        ctx.save_for_backward(rounded, weight)
        ctx.input_dtype = x.dtype
        return int8_product(rounded, weight.T, weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        x_gradient = int8_product(gradient, weight, ctx.input_dtype) if needs_x else None
        weight_gradient = int8_product(gradient.T, x, weight.dtype) if needs_weight else None
        return x_gradient, weight_gradient


def int8_product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """``left @ right`` [M, N] in ``dtype`` through int8, for ``left`` [M, K], ``right`` [K, N].

    With s the scale of a row of ``left`` and t that of a column of ``right``, no result is
    further from the true one than the sum over K of (|left| t + |right| s) / 2 + s t / 4, and the
    rounding to ``dtype``. The same operands give the same bits: the sum is exact in any order.

    It is an operator of torch's own kind, so that torch.compile compiles around it.
    """
    product: Tensor = _operator(left, right, dtype)
    return product


@torch.library.custom_op("homerun::int8_product", mutates_args=())
def _operator(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.size(1) <= LONGEST_SUM:
        return _product(left, right, dtype)
    total = torch.zeros(left.size(0), right.size(1), device=left.device)
    for start in range(0, left.size(1), LONGEST_SUM):
        part = slice(start, start + LONGEST_SUM)
        total += _product(left[:, part], right[part], torch.float32)
    return total.to(dtype)


@_operator.register_fake
def _(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    return left.new_empty(left.size(0), right.size(1), dtype=dtype)


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """int8 codes [R, C], row by row in memory, and a float32 scale for each row [R].

    The largest magnitude of a row becomes 127; a row of zeros has scale 0.
    """
    peak = matrix.abs().amax(1).float()
    rate = torch.where(peak > 0, LEVELS / peak, 0.0)
    rounded = (matrix.float() * rate[:, None]).round_().clamp_(-LEVELS, LEVELS)
    codes = torch.empty(matrix.shape, dtype=torch.int8, device=matrix.device).copy_(rounded)
    return codes, peak / LEVELS


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.device.type == "cuda" and has_triton():
        from trainer.precision import int8_triton

        return int8_triton.scaled_product(
            *int8_triton.quantize_rows(left), *int8_triton.quantize_rows(right.T), dtype
        )
    left_codes, left_scales = quantize_rows(left)
    right_codes, right_scales = quantize_rows(right.T)
    sums = int_sums(left_codes, right_codes).float()
    return sums.mul_(left_scales[:, None]).mul_(right_scales).to(dtype)


def int_sums(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right.T`` in int32 [M, N] for int8 [M, K] and [N, K], both row by row in memory.

    cuBLAS refuses sizes that are no multiples of 8; there, zeros are added and cut off again.
    """
    if left.device.type != "cuda":
        return torch._int_mm(left, right.T)
    padded = torch._int_mm(_padded(left, _CUBLAS_ROWS), _padded(right, _CUBLAS_MULTIPLE).T)
    return padded[: left.size(0), : right.size(0)]


def _padded(matrix: Tensor, row_multiple: int) -> Tensor:
    """``matrix`` with zeros below and to the right."""
    rows, columns = matrix.shape
    return F.pad(matrix, (0, -columns % _CUBLAS_MULTIPLE, 0, -rows % row_multiple))


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; torch for CUDA on Linux brings it along."""
    return importlib.util.find_spec("triton") is not None
