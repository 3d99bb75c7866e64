"""Which depths exist, and which is nearest to a size."""

from __future__ import annotations

import pytest

from trainer import sizing
from trainer.contract import toml
from trainer.contract.spec import ModelSpec, from_dict


@pytest.mark.parametrize(
    ("wanted", "depth"), [(1.3e9, 28), (1.9e9, 32), (560e6, 20), (1e5, 1), (1e15, 256), (8e8, 24)]
)
def test_a_wished_size_is_answered_with_the_nearest_real_model(wanted: float, depth: int) -> None:
    assert sizing.nearest_depth(wanted) == depth


def test_d28_is_the_one_of_about_1_3_billion() -> None:
    assert sizing.parameters(ModelSpec(depth=sizing.nearest_depth(1.3e9))) == 1_313_865_728


def test_real_depths_are_those_that_the_contract_takes() -> None:
    for depth in range(1, 65):
        spec = {"name": "x", "model": {"depth": depth}}
        if sizing.is_real_depth(depth):
            assert from_dict(spec).model.depth == depth
        else:
            with pytest.raises(toml.InvalidFileError):
                from_dict(spec)
    assert not sizing.is_real_depth(21)


def test_scaling_parameters_leave_the_embedding_out() -> None:
    model = ModelSpec(depth=32)
    assert sizing.scaling_parameters(model) == 1_879_048_192 - 65_536 * 2048
    assert sizing.matrix_parameters(model) == 1_610_612_736
