"""Run as a child with TRITON_INTERPRET=1: the Triton kernels on CPU tensors, against torch."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.precision import int8_matmul, int8_triton


def _codes(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randint(-127, 128, (rows, columns), dtype=torch.int8, generator=generator)


def check_quantisation(generator: torch.Generator) -> None:
    """Codes and scales are torch's; a product that is rounded once less may tip a tie."""
    matrix = torch.randn(37, 150, generator=generator)
    matrix[3] = 0
    for each in (matrix, matrix.T, matrix.bfloat16(), matrix.bfloat16().T, matrix[::2, 5:140]):
        codes, scales = int8_triton.quantize_rows(each)
        expected, expected_scales = int8_matmul.quantize_rows(each)
        assert torch.equal(scales, expected_scales)
        assert codes.is_contiguous()
        difference = (codes.int() - expected.int()).abs()
        assert difference.max().item() <= 1
        assert difference.sum().item() <= 2


def check_poison() -> None:
    """NaN and infinity show in the scale of their row, and in no other."""
    matrix = torch.ones(9, 300)
    matrix[2, 3], matrix[5, 290], matrix[8, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    _, scales = int8_triton.quantize_rows(matrix)
    assert scales.isfinite().tolist() == [row not in (2, 5, 8) for row in range(9)]


def check_product(generator: torch.Generator) -> None:
    """Sums are exact whatever sizes and tile; bf16 is the float32 result, rounded."""
    for tile in int8_triton.TILES:
        # a choice of one needs no timing, which needs a GPU
        int8_triton._product_kernel.configs = [tile]
        check_tile(generator)


def check_tile(generator: torch.Generator) -> None:
    """The tile that is left to choose."""
    for rows, inner, columns in ((70, 150, 50), (1, 1, 1), (130, 64, 300)):
        left, right = _codes(rows, inner, generator), _codes(columns, inner, generator)
        left_scales = torch.rand(rows, generator=generator)
        right_scales = torch.rand(columns, generator=generator)
        given = (left, left_scales, right, right_scales)
        expected = (left.int() @ right.int().T).float() * left_scales[:, None] * right_scales
        assert torch.equal(int8_triton.scaled_product(*given, torch.float32), expected)
        rounded = int8_triton.scaled_product(*given, torch.bfloat16)
        assert rounded.dtype == torch.bfloat16
        # the interpreter cuts where a GPU rounds to nearest
        torch.testing.assert_close(rounded.float(), expected, rtol=2**-7, atol=0)


def main() -> None:
    """Check all kernels."""
    generator = torch.Generator().manual_seed(1)
    check_quantisation(generator)
    check_poison()
    check_product(generator)
    print("all equal")


if __name__ == "__main__":
    main()
