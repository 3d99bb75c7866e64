"""Tokens a second of a recipe on a card, before anybody has measured it there.

Every figure is assumed from a published measurement of a similar training step, compiled:

- bf16 matmuls and attention run at 76 % of the dense peak: nanochat d12 on an RTX 4070 made
  55,700 tokens/s (lzwjava.github.io; 44 of 58.3 TFLOP/s executed). A d20 on a 4090 reached 80 %
  (karpathy/nanochat issue 157), torchao's Llama2-1B with recompute on a 4070 Ti SUPER 78 %.
- int8 matmuls of the blocks run 1.9 times as fast, scaling and rounding included: torchao's
  "INT8 mixed-precision training" made the whole step of a 1 B model 1.68 times as fast on a
  4070 Ti SUPER (gau-nernst/quantized-training), and the rest of the step stays in bf16.
- unpacking low-bit weights and the optimizer's traffic are bound by memory: 70 % of the
  bandwidth of the card and of its link.

Without torch.compile expect about half: a 910 M model on an RTX 4070, uncompiled, made 22.5
TFLOP/s (Bl4ckd09/nanochat-on-rtx4070), 39 % of the peak.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.contract.spec import ModelSpec
from trainer.sizing.cards import Card
from trainer.sizing.memory import adapter_parameters, held, projection_parameters, rank
from trainer.sizing.shape import (
    block_matrices,
    embedding_parameters,
    flops_per_token,
    matrix_parameters,
    shape_of,
)
from trainer.sizing.storage import Storage

BF16_EFFICIENCY = 0.76
INT8_SPEEDUP = 1.9
_MEMORY_EFFICIENCY = 0.7
#: of a desktop's memory, two channels of DDR4 or DDR5
_HOST_BYTES_PER_SECOND = 40e9
#: Newton-Schulz makes 15 products for each pair of rows (5 steps of 3 matmuls, 2 FLOP each)
_NEWTON_SCHULZ_STEPS = 5


@dataclass(frozen=True)
class Speed:
    """What a card is expected to do."""

    tokens_per_second: float
    #: in nanochat's FLOPs (``flops_per_token``), so that it compares with MFU everywhere
    flops_per_second: float


def assumed_speed(
    model: ModelSpec, storage: Storage, card: Card, micro_batch: int, batch_tokens: int
) -> Speed:
    """Tokens and FLOPs a second of the whole training step."""
    seconds = (
        _compute_seconds_per_token(model, storage, card)
        + _micro_batch_seconds(model, storage, card) / (micro_batch * model.sequence_length)
        + _optimizer_seconds(model, storage, card) / batch_tokens
    )
    return Speed(1 / seconds, flops_per_token(model) / seconds)


def executed_flops_per_token(model: ModelSpec, storage: Storage) -> tuple[float, float]:
    """FLOPs that the card really makes for one token: in the blocks' matrices, and elsewhere.

    Causal attention is half of what the convention counts; recomputing adds one forward pass of
    the blocks; frozen matrices need no weight gradient, their adapters do.
    """
    shape = shape_of(model)
    forwards = 2 if storage.recompute else 1
    matrices = matrix_parameters(model)
    weight_gradients = matrices
    if storage.adapters:
        weight_gradients = adapter_parameters(model, storage)
        weight_gradients += projection_parameters(model, storage)
    in_blocks = 2.0 * ((forwards + 1) * matrices + weight_gradients)
    attention = 2 * shape.layers * shape.heads * shape.head_dim * shape.sequence_length
    elsewhere = 6.0 * embedding_parameters(model) + attention * (forwards + 2)
    return in_blocks, elsewhere


def _compute_seconds_per_token(model: ModelSpec, storage: Storage, card: Card) -> float:
    in_blocks, elsewhere = executed_flops_per_token(model, storage)
    peak = card.fp32_flops if storage.precision == "fp32" else card.bf16_flops
    rate = peak * BF16_EFFICIENCY
    return in_blocks / (rate * (INT8_SPEEDUP if storage.int8_matmuls else 1.0)) + elsewhere / rate


def _micro_batch_seconds(model: ModelSpec, storage: Storage, card: Card) -> float:
    """What every micro-batch costs however small it is: unpacking, gradients for the host."""
    seconds = 0.0
    if storage.packed or storage.casts:
        # each pass reads the stored weights and writes bf16 ones
        passes = 3 if storage.recompute else 1
        traffic = held(model, storage, "weight") + 2 * matrix_parameters(model)
        seconds += passes * traffic / (card.bandwidth_bytes_per_second * _MEMORY_EFFICIENCY)
    if storage.adapters:
        # the weight is built anew for each pass
        flops = (
            2
            * model.depth
            * sum(
                rank(model, storage, min(sides)) * sides[0] * sides[1]
                for sides in block_matrices(model)
            )
        )
        seconds += (3 if storage.recompute else 2) * flops / (card.bf16_flops * BF16_EFFICIENCY)
    if storage.host_gradients:
        sent = held(model, storage, "gradient")
        # over the link, then read, added and written by the processor
        seconds += sent / card.pcie_bytes_per_second + 5 * sent / _HOST_BYTES_PER_SECOND
    return seconds


def _optimizer_seconds(model: ModelSpec, storage: Storage, card: Card) -> float:
    """Newton-Schulz, one pass over weights, gradients and state, and the way over the link."""
    shape = shape_of(model)
    kept = {what: held(model, storage, what) for what in ("weight", "gradient", "state", "master")}
    on_card = 2 * sum(kept.values()) / (card.bandwidth_bytes_per_second * _MEMORY_EFFICIENCY)
    link = 2 * (kept["state"] + kept["master"]) / card.pcie_bytes_per_second
    matmuls = 0.0
    if storage.muon:
        # a matrix [n, m], n <= m: two products n n m and one n n n, per step and matrix
        width = shape.width
        square, wide = 2 * 3 * width**3, 2 * (2 * 4 + 1) * width**3
        matmuls = shape.layers * _NEWTON_SCHULZ_STEPS * (4 * square + 2 * wide)
    return (
        matmuls / (card.bf16_flops * BF16_EFFICIENCY) + on_card + (link if storage.on_host else 0.0)
    )
