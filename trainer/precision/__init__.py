"""One file per recipe: how weights, gradients, optimizer state and matmuls are kept and computed.

base  Recipe: what a recipe decides
fp32  the reference
bf16  classic nanochat's own
"""

from __future__ import annotations

from trainer.precision.base import Recipe
from trainer.precision.bf16 import Bf16
from trainer.precision.fp32 import Fp32

_RECIPES: dict[str, Recipe] = {entry.name: entry for entry in (Fp32(), Bf16())}


def recipe(name: str) -> Recipe:
    """The recipe that the spec names.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _RECIPES:
        raise ValueError(f"no precision recipe {name!r}; choose one of {', '.join(_RECIPES)}")
    return _RECIPES[name]


__all__ = ["Bf16", "Fp32", "Recipe", "recipe"]
