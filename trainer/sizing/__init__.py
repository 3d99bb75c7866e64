"""Parameters, FLOPs, bytes and speed of a run, counted without building it.

Standard library only: it is one of the three doors that the orchestrator may use.

shape       parameters, FLOPs, horizon
storage     what each recipe keeps, in bytes a number
memory      bytes on the GPU and on the host, by what they are for
cards       consumer GPUs: dense peaks, memory, bandwidth, watts
speed       tokens a second of a recipe on a card, assumed from published measurements
"""

from __future__ import annotations

from trainer.sizing.cards import CARDS, Card, card_named, card_wanted
from trainer.sizing.memory import checkpoint_bytes
from trainer.sizing.shape import (
    TOKENS_PER_PARAMETER,
    Shape,
    embedding_parameters,
    flops_per_token,
    heads_of,
    horizon_steps,
    is_real_depth,
    matrix_parameters,
    nearest_depth,
    parameters,
    scaling_parameters,
    shape_of,
)

__all__ = [
    "CARDS",
    "TOKENS_PER_PARAMETER",
    "Card",
    "Shape",
    "card_named",
    "card_wanted",
    "checkpoint_bytes",
    "embedding_parameters",
    "flops_per_token",
    "heads_of",
    "horizon_steps",
    "is_real_depth",
    "matrix_parameters",
    "nearest_depth",
    "parameters",
    "scaling_parameters",
    "shape_of",
]
