"""The int8 matmuls against float64: within the quantisation's own bound, the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainer.precision import int8_matmul
from trainer.precision.int8_matmul import int8_linear, int8_product, int_sums, quantize_rows

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.gpu),
]
ROOT = Path(__file__).parents[3]


def _random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _bound(left: Tensor, right: Tensor) -> Tensor:
    """How far the product of two matrices with rounded entries can be from the true one."""
    left, right = left.double(), right.double()
    left_step = (left.abs().amax(1) / 127)[:, None]
    right_step = (right.abs().amax(0) / 127)[None]
    half = left.abs().sum(1, keepdim=True) * right_step + right.abs().sum(0) * left_step
    return half / 2 + left.size(1) * left_step * right_step / 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(64, 128, 96), (1, 1, 1), (3, 5, 7), (17, 129, 8), (40, 8, 33)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_stays_within_the_bound_of_its_quantisation(
    device: str, rows: int, inner: int, columns: int, dtype: torch.dtype
) -> None:
    left = _random(rows, inner, dtype=dtype)
    # columns of very different size, as activations have them
    right = (_random(inner, columns, seed=2) * torch.logspace(-3, 3, columns)).to(dtype)
    found = int8_product(left.to(device), right.to(device), torch.float32).cpu()
    error = (found.double() - left.double() @ right.double()).abs()
    assert (error <= _bound(left, right) * 1.0001).all()


def test_outliers_of_one_row_do_not_blur_the_others() -> None:
    left, right = _random(8, 64), _random(64, 8, seed=2)
    left[3] *= 1e6
    found = int8_product(left, right, torch.float32)
    true = left.double() @ right.double()
    error = ((found - true) / true.norm(dim=1, keepdim=True)).norm(dim=1)
    assert error.max().item() < 0.02


@pytest.mark.parametrize("device", DEVICES)
def test_layer_and_gradients_are_those_of_float64_within_the_bound(device: str) -> None:
    x = _random(2, 20, 72, dtype=torch.bfloat16).to(device).requires_grad_()
    weight = _random(40, 72, seed=2, dtype=torch.bfloat16).to(device).requires_grad_()
    gradient = _random(2, 20, 40, seed=3, dtype=torch.bfloat16)
    y = int8_linear(x, weight)
    y.backward(gradient.to(device))  # type: ignore[no-untyped-call] # torch's own
    assert x.grad is not None
    assert weight.grad is not None
    flat, matrix = x.detach().cpu().flatten(0, 1), weight.detach().cpu()
    flat_gradient = gradient.flatten(0, 1)
    for found, left, right in (
        (y, flat, matrix.T),
        (x.grad, flat_gradient, matrix),
        (weight.grad, flat_gradient.T, flat),
    ):
        assert found.dtype == torch.bfloat16
        true = left.double() @ right.double()
        rounding = true.abs() / 256
        error = (found.detach().cpu().double().flatten(0, -2) - true).abs()
        assert (error <= _bound(left, right) * 1.01 + rounding).all()
        assert error.norm().item() < 0.02 * true.norm().item()


def test_a_float32_input_gets_its_gradient_in_float32() -> None:
    x = _random(4, 16).requires_grad_()
    weight = _random(8, 16, seed=2, dtype=torch.bfloat16).requires_grad_()
    int8_linear(x, weight).sum().backward()  # type: ignore[no-untyped-call] # torch's own
    assert x.grad is not None
    assert weight.grad is not None
    assert (x.grad.dtype, weight.grad.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_operands_give_the_same_bits(device: str) -> None:
    left, right = _random(100, 300).to(device), _random(300, 50, seed=2).to(device)
    first = int8_product(left, right, torch.bfloat16)
    for _ in range(3):
        assert torch.equal(int8_product(left, right, torch.bfloat16), first)
    backwards = int8_product(left.flip(1), right.flip(0), torch.bfloat16)
    assert torch.equal(backwards, first)


def test_a_sum_too_long_for_int32_is_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    length = int8_matmul.LONGEST_SUM + 40_000  # 127 * 127 times this is more than 2^31
    ones = torch.ones(2, length)
    found = int8_product(ones, ones.T, torch.float32)
    torch.testing.assert_close(found, torch.full((2, 2), float(length)))
    whole = int8_product(_random(5, 100), _random(100, 6), torch.float32)
    monkeypatch.setattr(int8_matmul, "LONGEST_SUM", 30)
    torch.testing.assert_close(
        int8_product(_random(5, 100), _random(100, 6), torch.float32), whole, rtol=0, atol=0.4
    )


def test_a_row_of_zeros_stays_zero() -> None:
    left = _random(4, 32)
    left[2] = 0
    codes, scales = quantize_rows(left)
    assert scales[2].item() == 0
    assert not codes[2].any()
    assert not int8_product(left, _random(32, 8), torch.float32)[2].any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_not_hidden(device: str, poison: float) -> None:
    left, right = _random(4, 32).to(device), _random(32, 8).to(device)
    left[1, 5] = poison
    found = int8_product(left, right, torch.float32)
    assert not found[1].isfinite().any()
    assert found[[0, 2, 3]].isfinite().all()


@pytest.mark.gpu
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (17, 129, 9), (64, 64, 64)])
def test_without_triton_cublas_takes_every_size(rows: int, inner: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(1)
    left = torch.randint(-127, 128, (rows, inner), dtype=torch.int8, generator=generator)
    right = torch.randint(-127, 128, (columns, inner), dtype=torch.int8, generator=generator)
    found = int_sums(left.cuda(), right.cuda()).cpu()
    assert torch.equal(found, left.int() @ right.int().T)


def _run_child(module: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_triton_kernels_compute_the_same_in_tritons_interpreter() -> None:
    """The switch must be set before the kernels are imported, hence a process of its own."""
    said = _run_child("tests.unit.precision.interpreted_kernels", TRITON_INTERPRET="1")
    assert said.splitlines()[-1] == "all equal"


def test_the_triton_kernels_compile_for_ada_to_int8_tensor_core_instructions(
    tmp_path: Path,
) -> None:
    """Triton and its assembler need no GPU for that."""
    said = _run_child("tests.unit.precision.compiled_kernels", TRITON_CACHE_DIR=str(tmp_path))
    assert said.splitlines()[-1] == "all compiled"
