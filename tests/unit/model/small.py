"""What the tests of this room share: small specs, models with lively weights, random tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.contract.spec import ModelSpec, RunSpec, TrainSpec
from trainer.model import NanoChat

DEPTH_1 = ModelSpec(depth=1, vocab_size=512, sequence_length=32)


def run_spec(
    model: ModelSpec = DEPTH_1, *, precision: str = "fp32", clip: float = 1.0, lr_scale: float = 1.0
) -> RunSpec:
    """A run of small steps."""
    train = TrainSpec(
        steps=10,
        batch_tokens=4 * model.sequence_length,
        micro_batch=4,
        precision=precision,
        gradient_clip=clip,
        lr_scale=lr_scale,
    )
    return RunSpec(name="small", seed=7, model=model, train=train)


def lively(model: ModelSpec = DEPTH_1, seed: int = 3) -> NanoChat:
    """A model in which every weight matters: nanochat starts with zeros in half of them."""
    made = NanoChat(model)
    made.init_weights(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in made.parameters():
            if not weight.any():
                weight.normal_(std=0.3, generator=generator)
    return made


def tokens(model: ModelSpec = DEPTH_1, *, sequences: int = 4, seed: int = 5) -> Tensor:
    """Random ids [B, T]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (sequences, model.sequence_length)
    return torch.randint(model.vocab_size, shape, generator=generator)


def same_bytes(left: Tensor, right: Tensor) -> bool:
    """Equal to the last bit, signs of zeros and payloads of NaNs included."""
    pair = [each.detach().contiguous().flatten().view(torch.uint8) for each in (left, right)]
    return left.dtype == right.dtype and torch.equal(*pair)
