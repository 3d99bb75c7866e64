"""One file per recipe: how weights, gradients, optimizer state and matmuls are kept and computed.

base       Recipe: what a recipe decides; Setting: what it may know of the run
kept       Kept: one trained matrix; Keeping: a model of them
gradients  where gradients are summed up; resting: where tensors lie between steps
settings   "auto" settled; a run's Setting
fp32       the reference
bf16       classic nanochat's own
bf16_8bit  bf16 weights, stochastic rounding, 8-bit state; rounding, rounded: how
qlora_4bit NF4 base and adapters; adapted, lowrank, merges: how
int8       the same with int8 matmuls; int8_matmul, int8_triton: how
nf4 w3 w26 packed weights, masters on the host; codecs, packed_linear, quantized: how
"""

from __future__ import annotations

import torch

from trainer.contract.choices import PRECISIONS
from trainer.contract.spec import RunSpec
from trainer.model import NanoChat, initial_weights
from trainer.precision.base import Recipe, Setting
from trainer.precision.bf16 import Bf16
from trainer.precision.bf16_8bit import Bf16With8Bit
from trainer.precision.fp32 import Fp32
from trainer.precision.int8 import Int8
from trainer.precision.kept import Keeping, Kept, Moment
from trainer.precision.nf4 import Nf4Recipe
from trainer.precision.qlora_4bit import QLora4Bit
from trainer.precision.settings import settle
from trainer.precision.w3 import W3
from trainer.precision.w26 import W26

RECIPES: dict[str, Recipe] = {
    entry.name: entry
    for entry in (
        Fp32(),
        Bf16(),
        Bf16With8Bit(),
        Int8(),
        Nf4Recipe(),
        QLora4Bit(),
        W3(),
        W26(),
    )
}


def recipe(name: str) -> Recipe:
    """The recipe that the spec names.

    Raises:
        ValueError: there is none of that name.
    """
    if name in PRECISIONS and name not in RECIPES:
        raise ValueError(
            f"precision recipe {name!r} is not in this version; "
            f"take one of {', '.join(RECIPES)} until it is"
        )
    if name not in RECIPES:
        raise ValueError(f"no precision recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def build(spec: RunSpec, device: torch.device) -> Keeping:
    """The model before its first step, each weight drawn and kept at once.

    Never more than one matrix is there in float32. The numbers hang on the seed and the sizes
    alone: a recipe rounds what every other recipe would begin with.

    Raises:
        ValueError: the spec names no recipe, or asks for what its recipe does not offer.
    """
    chosen = recipe(spec.train.precision)
    with torch.device("meta"):
        model = NanoChat(spec.model)
    shapes = {name: each.shape for name, each in model.named_parameters()}
    keeping = chosen.prepare(model, settle(spec, chosen, device))
    for name, values in initial_weights(shapes, spec.seed):
        keeping.fill(name, values)
    return keeping


def keep(model: NanoChat, spec: RunSpec, device: torch.device | None = None) -> Keeping:
    """The same for a model that has its float32 weights already; the model itself is changed."""
    chosen = recipe(spec.train.precision)
    weights = {name: each.detach().clone() for name, each in model.named_parameters()}
    keeping = chosen.prepare(model, settle(spec, chosen, device or torch.device("cpu")))
    for name, values in weights.items():
        keeping.fill(name, values)
    return keeping


__all__ = [
    "RECIPES",
    "Bf16",
    "Bf16With8Bit",
    "Fp32",
    "Keeping",
    "Kept",
    "Moment",
    "QLora4Bit",
    "Recipe",
    "Setting",
    "build",
    "keep",
    "recipe",
    "settle",
]
