"""Parameters, FLOPs and steps of a run. The arithmetic is classic nanochat's.

Source: karpathy/nanochat at 3a5e0bc.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from trainer.contract.spec import ModelSpec, RunSpec

#: training tokens for each parameter when the spec names no horizon
TOKENS_PER_PARAMETER = 20
_CHANNELS_PER_LAYER = 64
_HEAD_CHANNELS = 128
#: the deepest model that the spec allows
_DEEPEST = 256


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


@functools.lru_cache(maxsize=512)
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


def is_real_depth(depth: int) -> bool:
    """Whether the width of this depth divides into heads of equal, even size.

    Every even depth does; of the odd ones only 1, 3, 7, 15, 31...: there is no d21.
    """
    width = _CHANNELS_PER_LAYER * depth
    heads = heads_of(width)
    return width % heads == 0 and (width // heads) % 2 == 0


def nearest_depth(wanted: float) -> int:
    """The real depth whose model is nearest to so many parameters, by ratio."""

    def distance(depth: int) -> float:
        ratio = parameters(ModelSpec(depth=depth)) / wanted
        return max(ratio, 1 / ratio)

    return min(filter(is_real_depth, range(1, _DEEPEST + 1)), key=distance)


def parameters(model: ModelSpec) -> int:
    """All trained numbers: embedding, blocks and the untied head."""
    return 2 * embedding_parameters(model) + matrix_parameters(model)


def embedding_parameters(model: ModelSpec) -> int:
    """The token embedding alone; the head has as many again."""
    shape = shape_of(model)
    return shape.vocab_size * shape.width


def matrix_parameters(model: ModelSpec) -> int:
    """The matrices of all blocks: attention and MLP."""
    return attention_parameters(model) + mlp_parameters(model)


def attention_parameters(model: ModelSpec) -> int:
    """Query, key, value and output matrices of all blocks."""
    return model.depth * sum(rows * columns for rows, columns in block_matrices(model)[:4])


def mlp_parameters(model: ModelSpec) -> int:
    """Both matrices of the MLP of all blocks."""
    return model.depth * sum(rows * columns for rows, columns in block_matrices(model)[4:])


@functools.lru_cache(maxsize=512)
def block_matrices(model: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Rows and columns of one block's matrices: query, key, value, output; into the MLP, out."""
    shape = shape_of(model)
    width, narrow = shape.width, shape.kv_heads * shape.head_dim
    attention = ((width, width), (narrow, width), (narrow, width), (width, width))
    return (*attention, (4 * width, width), (width, 4 * width))


def scaling_parameters(model: ModelSpec) -> int:
    """What nanochat relates tokens to: blocks and head, not the embedding (its dev/LOG.md)."""
    return matrix_parameters(model) + embedding_parameters(model)


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
