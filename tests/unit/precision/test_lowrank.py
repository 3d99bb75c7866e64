"""Projections, merges and error compensation against linear algebra in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.precision import lowrank


def gradient(short: int = 48, long: int = 96, *, decay: float = 0.8, seed: int = 1) -> Tensor:
    """Singular values fall by ``decay``, in random directions."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(short, short, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(long, short, generator=generator)).Q
    return left * decay ** torch.arange(short) @ right.mT


def probes(columns: int) -> Tensor:
    """What a gradient 96 columns wide is sketched with."""
    return lowrank.probes(96, columns, 3, torch.device("cpu")).float()


def rounded(matrix: Tensor) -> Tensor:
    """A coarse packing: 17 levels a row."""
    scale = matrix.abs().amax(dim=-1, keepdim=True).clamp_min(1e-12) / 8
    return (matrix / scale).round() * scale


def held(basis: Tensor, matrix: Tensor) -> float:
    """The part of a matrix's energy that lies in the span of ``basis``."""
    energy = (basis.mT @ matrix).square().sum() / matrix.square().sum()
    return energy.item()


def test_the_default_rank_is_512_for_d32() -> None:
    assert lowrank.default_rank(2048) == 512
    assert lowrank.default_rank(64) == 16


def test_a_projection_spans_the_leading_singular_vectors() -> None:
    found = gradient()
    basis = lowrank.projection(found, 12)
    exact = torch.linalg.svd(found.double()).U[:, :12]
    torch.testing.assert_close(basis.mT @ basis, torch.eye(12), rtol=0, atol=1e-5)
    # both span the same space: every principal angle is zero
    cosines = torch.linalg.svdvals(exact.mT @ basis.double())
    torch.testing.assert_close(cosines, torch.ones(12, dtype=torch.float64), rtol=0, atol=1e-5)


def test_a_sketch_stands_for_the_gradient_that_nobody_kept() -> None:
    found = gradient()
    columns = lowrank.sketch_columns(12, 48)
    assert 12 < columns < 48
    sketch = found @ probes(columns)
    best = held(lowrank.projection(found, 12), found)
    assert held(lowrank.projection(sketch, 12), found) > best - 0.01


def test_micro_batches_add_up_to_the_sketch_of_their_sum() -> None:
    parts = [gradient(seed=seed) for seed in range(4)]
    together = sum(part @ probes(20) for part in parts)
    assert isinstance(together, Tensor)
    torch.testing.assert_close(together, sum(parts) @ probes(20), rtol=1e-4, atol=1e-4)


def test_the_same_gradient_gives_the_same_bytes() -> None:
    first, second = (lowrank.projection(gradient(), 12) for _ in range(2))
    assert torch.equal(first, second)
    assert (first.gather(0, first.abs().argmax(dim=0, keepdim=True)) > 0).all()
    assert torch.equal(lowrank.random_projection(48, 12, 5), lowrank.random_projection(48, 12, 5))
    assert not torch.equal(
        lowrank.random_projection(48, 12, 5), lowrank.random_projection(48, 12, 6)
    )


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_gradient_without_a_direction_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="zero or not finite"):
        lowrank.projection(torch.full((8, 8), bad), 2)


def test_a_gradient_of_lower_rank_still_gives_an_orthonormal_basis() -> None:
    found = torch.outer(torch.arange(1.0, 9.0), torch.ones(16))
    basis = lowrank.projection(found, 4)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(4), rtol=0, atol=1e-5)
    assert held(basis, found) == pytest.approx(1.0, abs=1e-5)


def test_merging_adds_the_adapter_to_the_base() -> None:
    generator = torch.Generator().manual_seed(2)
    base = torch.randn(48, 96, generator=generator)
    basis = lowrank.random_projection(48, 12, 1)
    adapter = torch.randn(12, 96, generator=generator)
    exact = base.double() + basis.double() @ adapter.double()
    torch.testing.assert_close(
        lowrank.merged(base, basis, adapter).double(), exact, rtol=0, atol=1e-5
    )


def test_compensation_halves_the_harm_of_packing_within_the_projection() -> None:
    weight = gradient(decay=0.97, seed=9)
    basis = lowrank.projection(gradient(decay=0.97, seed=9), 24)
    packed, adapter = lowrank.compensated(weight, basis, rounded)
    left = weight - lowrank.merged(rounded(packed), basis, adapter)
    plain = weight - rounded(weight)
    assert left.norm() < 0.8 * plain.norm()
    # nothing of the error is left where the adapter could have held it
    assert held(basis, left) < 1e-9


def test_compensation_of_a_base_that_needs_none_is_zero() -> None:
    weight = rounded(gradient())
    basis = lowrank.random_projection(48, 12, 4)
    packed, adapter = lowrank.compensated(weight, basis, lambda matrix: matrix)
    assert torch.equal(packed, weight)
    assert not adapter.any()


def test_a_weight_that_stands_is_laid_down_and_square_ones_stay() -> None:
    assert lowrank.lying(torch.empty(8, 2)).shape == (2, 8)
    assert lowrank.lying(torch.empty(2, 8)).shape == (2, 8)
    square = torch.arange(4.0).view(2, 2)
    assert torch.equal(lowrank.lying(square), square)
