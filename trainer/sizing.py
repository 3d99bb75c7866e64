"""Parameters, FLOPs and bytes of a run, counted without building it. Standard library only.

The arithmetic is classic nanochat's (karpathy/nanochat at 3a5e0bc).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainer.contract.spec import ModelSpec, RunSpec

#: training tokens for each parameter when the spec names no horizon
TOKENS_PER_PARAMETER = 20
_CHANNELS_PER_LAYER = 64
_HEAD_CHANNELS = 128
#: room in a checkpoint for its manifest and the tensors' headers
_OVERHEAD_BYTES = 65_536


@dataclass(frozen=True)
class Shape:
    """What the dial ``depth`` means in channels and heads."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    #: context in tokens
    sequence_length: int


def shape_of(model: ModelSpec) -> Shape:
    """The dimensions of a model; the contract has checked that the heads divide the width."""
    width = _CHANNELS_PER_LAYER * model.depth
    heads = heads_of(width)
    return Shape(
        layers=model.depth,
        width=width,
        heads=heads,
        kv_heads=model.kv_heads or heads,
        head_dim=width // heads,
        vocab_size=model.vocab_size,
        sequence_length=model.sequence_length,
    )


def heads_of(width: int) -> int:
    """Query heads of a model ``width`` channels wide: one for every 128, rounded up."""
    return -(-width // _HEAD_CHANNELS)


def parameters(model: ModelSpec) -> int:
    """All trained numbers: embedding, blocks and the untied head."""
    return 2 * embedding_parameters(model) + _block_parameters(model)


def embedding_parameters(model: ModelSpec) -> int:
    """The token embedding alone; the head has as many again."""
    shape = shape_of(model)
    return shape.vocab_size * shape.width


def _block_parameters(model: ModelSpec) -> int:
    shape = shape_of(model)
    query_and_output = 2 * shape.width * shape.width
    key_and_value = 2 * shape.width * shape.kv_heads * shape.head_dim
    mlp = 2 * shape.width * 4 * shape.width
    return shape.layers * (query_and_output + key_and_value + mlp)


def flops_per_token(model: ModelSpec) -> float:
    """FLOPs to train on one token, forward and backward: 6 (N - N_emb) + 12 l h d s.

    The count of PaLM's appendix B (arXiv 2204.02311), which nanochat uses.
    """
    shape = shape_of(model)
    matmuls = 6 * (parameters(model) - embedding_parameters(model))
    attention = 12 * shape.layers * shape.heads * shape.head_dim * shape.sequence_length
    return float(matmuls + attention)


def horizon_steps(spec: RunSpec) -> int:
    """Optimizer steps until the run is finished, at least one."""
    if spec.train.steps:
        return spec.train.steps
    tokens = spec.train.tokens or TOKENS_PER_PARAMETER * parameters(spec.model)
    return max(1, tokens // spec.train.batch_tokens)


def checkpoint_bytes(spec: RunSpec) -> int:
    """About how large one checkpoint is: weights, Muon's momentum, AdamW's two moments.

    Blocks hold 8 bytes a parameter and the head 12, all in float32; the embedding holds three
    numbers of the recipe's own size.
    """
    embedding = embedding_parameters(spec.model)
    embedding_number_bytes = 2 if spec.train.precision == "bf16" else 4
    return (
        8 * _block_parameters(spec.model)
        + 12 * embedding
        + 3 * embedding_number_bytes * embedding
        + _OVERHEAD_BYTES
    )


@dataclass(frozen=True)
class Card:
    """A GPU's dense matmul peaks in FLOP/s at its reference boost clock."""

    name: str
    #: bf16 inputs, fp32 accumulation, no sparsity
    bf16_flops: float
    #: plain fp32, without TF32
    fp32_flops: float


def _geforce(name: str, cores: int, boost_mhz: int) -> Card:
    """GeForce from Ampere to Blackwell: 2 fp32 FLOP per core and cycle, twice that in bf16.

    Their tensor cores run at half rate when they accumulate in fp32, as training does
    (NVIDIA's GA102, AD102 and GB202 architecture papers).
    """
    fp32_flops = 2.0 * cores * boost_mhz * 1e6
    return Card(name, bf16_flops=2 * fp32_flops, fp32_flops=fp32_flops)


#: by the name that the driver reports, without its maker's prefix
CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        _geforce("RTX 3060", 3584, 1777),
        _geforce("RTX 3060 Ti", 4864, 1665),
        _geforce("RTX 3070", 5888, 1725),
        _geforce("RTX 3070 Ti", 6144, 1770),
        _geforce("RTX 3080", 8704, 1710),
        _geforce("RTX 3080 Ti", 10_240, 1665),
        _geforce("RTX 3090", 10_496, 1695),
        _geforce("RTX 3090 Ti", 10_752, 1860),
        _geforce("RTX 4060", 3072, 2460),
        _geforce("RTX 4060 Ti", 4352, 2535),
        _geforce("RTX 4070", 5888, 2475),
        _geforce("RTX 4070 SUPER", 7168, 2475),
        _geforce("RTX 4070 Ti", 7680, 2610),
        _geforce("RTX 4070 Ti SUPER", 8448, 2610),
        _geforce("RTX 4080", 9728, 2505),
        _geforce("RTX 4080 SUPER", 10_240, 2550),
        _geforce("RTX 4090", 16_384, 2520),
        _geforce("RTX 5060", 3840, 2497),
        _geforce("RTX 5060 Ti", 4608, 2572),
        _geforce("RTX 5070", 6144, 2512),
        _geforce("RTX 5070 Ti", 8960, 2452),
        _geforce("RTX 5080", 10_752, 2617),
        _geforce("RTX 5090", 21_760, 2407),
    )
}

_PREFIX = re.compile(r"^(nvidia\s+)?(geforce\s+)?", re.IGNORECASE)


def card_named(device_name: str) -> Card | None:
    """The card that a driver calls ``device_name``; None for one whose peak we do not know.

    Only the whole name counts: a laptop's card shares the desktop card's name, not its speed.
    """
    wanted = _PREFIX.sub("", device_name.strip()).casefold()
    return next((card for name, card in CARDS.items() if name.casefold() == wanted), None)
