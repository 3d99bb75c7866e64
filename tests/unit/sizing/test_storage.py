"""From a run's spec to what it keeps, and where."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.contract.spec import RunSpec, from_dict
from trainer.sizing.storage import storage_of


def spec(train: dict[str, Any] | None = None, memory: dict[str, Any] | None = None) -> RunSpec:
    return from_dict({"name": "x", "train": train or {}, "memory": memory or {}})


@pytest.mark.parametrize(
    ("train", "name"),
    [
        ({"precision": "fp32"}, "fp32"),
        ({"precision": "auto"}, "int8"),
        ({"precision": "nf4"}, "nf4"),
        ({"precision": "nf4", "optimizer": "adamw8"}, "nf4 adamw8"),
        ({"precision": "w2.6"}, "w2.6"),
        ({"precision": "w2.6", "mlp_codec": "ternary"}, "w2.6 ternary"),
        ({"precision": "qlora-4bit"}, "qlora-4bit"),
    ],
)
def test_recipe_and_optimizer_name_the_storage(train: dict[str, Any], name: str) -> None:
    assert storage_of(spec(train)).name == name


def test_auto_saves_memory_in_8_bit_recipes_only() -> None:
    lean, native = storage_of(spec({"precision": "int8"})), storage_of(spec({"precision": "bf16"}))
    assert (lean.on_host, lean.recompute) == (True, True)
    assert (native.on_host, native.recompute) == (False, False)


def test_switches_are_taken_as_they_are_set() -> None:
    memory = {
        "optimizer_state": "device",
        "activation_checkpointing": "off",
        "gradients": "host",
        "residual": "off",
    }
    found = storage_of(spec({"precision": "bf16-8bit"}, memory))
    assert (found.on_host, found.recompute, found.host_gradients) == (False, False, True)
    assert (found.mlp.master, found.head.master) == (0, 0)


def test_gradients_go_to_the_host_above_64_micro_batches() -> None:
    assert not storage_of(spec({"precision": "int8", "micro_batch": 4})).host_gradients
    assert storage_of(spec({"precision": "int8", "micro_batch": 2})).host_gradients
    assert not storage_of(spec({"precision": "fp32", "micro_batch": 2})).host_gradients
