"""From the spec's switches to a Setting, every "auto" settled."""

from __future__ import annotations

import torch

from trainer.contract.choices import MOST_BF16_MICRO_BATCHES
from trainer.contract.contradictions import too_many_to_sum
from trainer.contract.spec import RunSpec
from trainer.precision.base import Recipe, Setting
from trainer.precision.merges import first_interval_steps
from trainer.sizing import horizon_steps

#: recipes whose little state stays on the card: they are for machines without memory to spare
_STAY_ON_DEVICE = ("qlora-4bit",)


def settle(spec: RunSpec, recipe: Recipe, device: torch.device) -> Setting:
    """What the spec means for this recipe on this device.

    What changes the bytes hangs on spec and recipe alone, never on the device.

    Raises:
        ValueError: the spec asks for what the recipe does not offer, or for too many
            micro-batches summed up in bf16; the message names the fix.
    """
    memory = spec.memory
    saves_memory = recipe.frugal and device.type == "cuda"
    return Setting(
        seed=spec.seed,
        device=device,
        optimizer=_optimizer(spec.train.optimizer, recipe),
        parked=_chosen(
            memory.optimizer_state, "host", saves_memory and recipe.name not in _STAY_ON_DEVICE
        ),
        host_gradients=_host_gradients(spec, recipe),
        activation_checkpointing=_chosen(memory.activation_checkpointing, "on", saves_memory),
        residual=memory.residual,
        adapter_rank=spec.train.adapter_rank,
        merge_interval_steps=spec.train.merge_interval_steps
        or first_interval_steps(horizon_steps(spec)),
        mlp_codec=spec.train.mlp_codec,
    )


def _chosen(switch: str, thrifty: str, saves_memory: bool) -> bool:
    return switch == thrifty or (switch == "auto" and saves_memory)


def _optimizer(wanted: str, recipe: Recipe) -> str:
    if wanted == "auto":
        return recipe.optimizers[0]
    if wanted not in recipe.optimizers:
        raise ValueError(
            f"recipe {recipe.name!r} cannot train with optimizer = {wanted!r}; "
            f"it offers {', '.join(recipe.optimizers)}"
        )
    return wanted


def _host_gradients(spec: RunSpec, recipe: Recipe) -> bool:
    wanted = spec.memory.gradients
    too_many = recipe.sums_in_bf16 and spec.micro_batches > MOST_BF16_MICRO_BATCHES
    if wanted == "device" and too_many:
        raise ValueError(too_many_to_sum(spec.micro_batches))
    return wanted == "host" or (wanted == "auto" and too_many)
