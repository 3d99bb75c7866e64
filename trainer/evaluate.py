"""Validation: bits per byte, which compares models with different tokenizers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.loss import IGNORED
from trainer.model import NanoChat
from trainer.precision.base import Recipe


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text."""

    #: bits to write down one byte of the text with the model's help
    bits_per_byte: float
    #: nats per token, special tokens included
    loss: float
    #: bytes of text and number of tokens that were predicted
    text_bytes: int
    tokens: int


@torch.no_grad()
def bits_per_byte(
    model: NanoChat,
    batches: Iterable[tuple[Tensor, Tensor]],
    token_bytes: Tensor,
    recipe: Recipe,
    device: torch.device,
    between: Callable[[float], None],
) -> Evaluation:
    """Nats over all tokens of text / (ln 2 * their bytes).

    ``batches`` are int64 ids and targets [B, T]; targets of -1 are not counted, and neither are
    in bits per byte those whose ``token_bytes`` [V] is 0, the special tokens. ``between`` is
    called after each batch with the part that is done, negative when ``batches`` does not tell
    its length; what it raises ends the evaluation.

    Raises:
        ValueError: no target stands for any text.
    """
    count = operator.length_hint(batches, 0)
    lengths = token_bytes.to(device)
    # float64 on the device: exact enough for any number of batches, and no wait in between
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    for done, (ids, targets) in enumerate(batches, start=1):
        with recipe.autocast(device):
            losses = model.loss(ids.to(device), targets.to(device), reduction="none")
        sums += _sums(losses, targets.to(device), lengths)
        between(min(1.0, done / count) if count else -1.0)
    text_nats, text_bytes, nats, tokens = sums.tolist()
    if not text_bytes:
        raise ValueError("nothing to evaluate: no target stands for any text")
    bits = text_nats / (math.log(2) * text_bytes)
    return Evaluation(bits, nats / tokens, int(text_bytes), int(tokens))


def _sums(losses: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Nats and bytes of the text, nats and number of all counted targets [4] float64."""
    nats = losses.double()
    counted = targets != IGNORED
    target_bytes = lengths[targets.clamp_min(0)] * counted
    return torch.stack(
        (
            (nats * (target_bytes > 0)).sum(),
            target_bytes.sum().double(),
            (nats * counted).sum(),
            counted.sum().double(),
        )
    )
