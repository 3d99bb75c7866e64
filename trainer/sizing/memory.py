"""Bytes of a training step, by what they are for.

The model: three peaks compete. Whenever the head's loss is computed, weights, gradients, all that
backward needs of the blocks and the logits of a chunk are alive; when a block goes backward, its
own working set in the place of the logits; in the optimizer step, weights, gradients and the
state of what is being updated. The largest one, and on top of it what the allocator cannot use
(fragmentation) and what CUDA keeps for itself (context).

The bytes for a token and channel were counted with torch's MemTracker under FakeTensorMode on the
whole model (``tests/unit/sizing/test_reality.py`` counts again). Fragmentation and context are
customary figures for a caching allocator; only a GPU can tell (``make gpu-check``).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from trainer.contract.spec import ModelSpec, RunSpec
from trainer.sizing.shape import (
    attention_parameters,
    block_matrices,
    embedding_parameters,
    matrix_parameters,
    mlp_parameters,
    shape_of,
)
from trainer.sizing.storage import Kept, Storage, storage_of

#: sequences of a micro-batch that a plan tries, largest first
MICRO_BATCHES = (16, 8, 4, 2, 1)
#: rows of the head's logits that are computed at a time (``trainer.loss``)
LOSS_ROWS = 256
CONTEXT_BYTES = int(0.45 * (1 << 30))
_FRAGMENTATION = 0.04
#: room in a checkpoint for its manifest and the tensors' headers
_MANIFEST_BYTES = 65_536


@dataclass(frozen=True)
class _Activations:
    """Bytes for each token and channel."""

    #: kept for backward by a block that does not compute again
    saved: float
    #: kept for backward by one that does: its input
    boundary: float
    #: beside the blocks while the loss is computed: last norm, its input's gradient
    tail: float
    #: while a block goes backward, beyond what all blocks saved
    working: float
    #: the same for a block that computes again, which saves for itself
    working_again: float
    #: for each logit of a chunk, what is left of the chunk before included
    logit: float
    #: for each logit while a chunk's part of the head's gradient is computed
    logit_in_product: float
    #: for each number of the head, its gradient's float32 sum included
    head_in_product: float


_PER_CHANNEL = {
    "float32": _Activations(
        72, 4, 16, working=56, working_again=124, logit=20, logit_in_product=8, head_in_product=4
    ),
    "mixed": _Activations(
        48, 4, 18, working=32, working_again=76, logit=22, logit_in_product=10, head_in_product=6
    ),
    "bf16": _Activations(
        44, 2, 12, working=30, working_again=74, logit=22, logit_in_product=10, head_in_product=6
    ),
}
#: of both operands of an int8 matmul, the wider one four times the width; not seen by MemTracker,
#: which runs the CPU's path
_INT8_CODES = 8
#: of Newton-Schulz, rounding and float32 copies, for each number of a matrix that is updated
_STEP_BYTES_A_NUMBER = 22
#: of a float32 copy, its gradient and its rounding, for each number of the rows of a table
_ADAMW8_BYTES_A_NUMBER = 13
#: numbers that are updated together (``trainer.muon``, ``trainer.adamw``)
_MUON_NUMBERS = 1 << 24
_ADAMW_NUMBERS = 1 << 24
#: rows come in multiples of the numbers that share a scale
_BLOCK = 256


@dataclass(frozen=True)
class Memory:
    """All in bytes. On the GPU, unless the name says host."""

    micro_batch: int
    weights: int
    gradients: int
    #: optimizer state that stays on the GPU
    state: int
    #: kept for the backward pass, with one block's working set
    activations: int
    #: logits and gradients of the head's chunk; not alive together with a block's working set
    logits: int
    #: what the optimizer step needs besides
    step: int
    context: int
    fragmentation: int
    peak: int
    #: "forward and backward" or "optimizer step"
    peak_phase: str
    #: master and state in host memory
    host: int

    @property
    def allocated(self) -> int:
        """What torch's allocator hands out at the peak: no context, no fragmentation."""
        return self.peak - self.fragmentation - self.context

    def misses(self, usable_bytes: int) -> int:
        """By how much it does not fit; at most 0 when it fits."""
        return self.peak - usable_bytes


def memory(
    model: ModelSpec, storage: Storage, micro_batch: int, loss_rows: int = LOSS_ROWS
) -> Memory:
    """What a recipe needs to train ``model`` on micro-batches of so many full sequences."""
    table = embedding_parameters(model)
    gradients = held(model, storage, "gradient")
    resting = held(model, storage, "state") + held(model, storage, "master")
    host_sums = 0.0
    if storage.host_gradients:
        # the head's gradient, the largest, is on its way while the last block's is computed
        host_sums = 4.0 * trained_numbers(model, storage)
        gradients = table * storage.head.gradient
    saved, tail, working, logits = _activations(model, storage, micro_batch, loss_rows)
    step = _step_bytes(model, storage)
    weights = held(model, storage, "weight")
    base = weights + gradients + (0.0 if storage.on_host else resting)
    forward_backward = base + saved + max(working, tail + logits)
    peak = max(forward_backward, base + step)
    fragmentation = _FRAGMENTATION * peak
    return Memory(
        micro_batch=micro_batch,
        weights=round(weights),
        gradients=round(gradients),
        state=0 if storage.on_host else round(resting),
        activations=round(saved + (working if working > tail + logits else tail)),
        logits=round(logits),
        step=round(step),
        context=CONTEXT_BYTES,
        fragmentation=round(fragmentation),
        peak=round(peak + fragmentation) + CONTEXT_BYTES,
        peak_phase="forward and backward" if forward_backward >= peak else "optimizer step",
        host=round((resting if storage.on_host else 0) + host_sums),
    )


def checkpoint_bytes_of(model: ModelSpec, storage: Storage) -> int:
    """About how large one checkpoint is: weights, masters and residuals, optimizer state."""
    kept = sum(held(model, storage, what) for what in ("weight", "state", "master"))
    return round(kept) + _MANIFEST_BYTES


def checkpoint_bytes(spec: RunSpec) -> int:
    """The same for a run."""
    return checkpoint_bytes_of(spec.model, storage_of(spec))


def held(model: ModelSpec, storage: Storage, what: str) -> float:
    """Bytes of one category over everything: "weight", "gradient", "state" or "master"."""
    table = embedding_parameters(model)
    parts: tuple[tuple[int, Kept], ...] = (
        (attention_parameters(model), storage.attention),
        (mlp_parameters(model), storage.mlp),
        (table, storage.embedding),
        (table, storage.head),
        # adapters are kept as the head is
        (adapter_parameters(model, storage), storage.head),
    )
    frozen = 2 * projection_parameters(model, storage) if what == "weight" else 0
    return frozen + sum(numbers * float(getattr(kept, what)) for numbers, kept in parts)


def adapter_parameters(model: ModelSpec, storage: Storage) -> int:
    """Trained numbers of low-rank adapters; 0 where the matrices themselves are trained."""
    return model.depth * sum(
        rank(model, storage, min(sides)) * max(sides) for sides in block_matrices(model)
    )


def trained_numbers(model: ModelSpec, storage: Storage) -> int:
    """All numbers that have a gradient."""
    matrices = 0 if storage.adapters else matrix_parameters(model)
    return matrices + adapter_parameters(model, storage) + 2 * embedding_parameters(model)


def projection_parameters(model: ModelSpec, storage: Storage) -> int:
    """Frozen numbers beside the adapters, in bf16."""
    return model.depth * sum(
        rank(model, storage, min(sides)) * min(sides) for sides in block_matrices(model)
    )


def rank(model: ModelSpec, storage: Storage, short: int) -> int:
    """Of the adapter on a matrix whose shorter side is ``short``; 0 where there is none."""
    if not storage.adapters:
        return 0
    return min(short, storage.adapter_rank or max(1, shape_of(model).width // 4))


def _activations(
    model: ModelSpec, storage: Storage, micro_batch: int, loss_rows: int
) -> tuple[float, float, float, float]:
    """Kept for backward; beside it in the loss; a block's working set; the loss's chunk."""
    shape = shape_of(model)
    per = _PER_CHANNEL[storage.activations]
    channels = micro_batch * shape.sequence_length * shape.width
    rows = min(loss_rows, micro_batch * shape.sequence_length)
    table = embedding_parameters(model)
    # the head's gradient is summed up in float32 whatever the head is
    chunk = rows * shape.vocab_size
    logits = max(
        chunk * per.logit + 4 * table,
        chunk * per.logit_in_product + per.head_in_product * table,
    )
    saved = per.boundary if storage.recompute else per.saved
    working = per.working_again if storage.recompute else per.working
    if storage.int8_matmuls:
        working += _INT8_CODES
    kept, block = 0.0, 0.0
    if storage.casts:
        # autocast keeps its copies until forward is over, and what backward reads even longer
        casts = 2.0 * matrix_parameters(model)
        logits += 2 * table + (casts if storage.recompute else 0)
        kept = 0.0 if storage.recompute else casts
        block = casts / shape.layers if storage.recompute else 0.0
    blocks = channels * saved * shape.layers + kept
    return blocks, channels * per.tail, channels * working + block, logits


def _step_bytes(model: ModelSpec, storage: Storage) -> float:
    """The matrices that Muon updates together, or some rows of a table under AdamW."""
    shapes = Counter(
        math.prod(sides) for sides in block_matrices(model) for _ in range(model.depth)
    )
    together = max(
        size * min(count, max(1, _MUON_NUMBERS // size)) for size, count in shapes.items()
    )
    state = storage.head.state * embedding_parameters(model) if storage.on_host else 0.0
    of_table = state
    if storage.activations == "bf16":
        chunk, last = _adamw8_chunks(model)
        # of the table before, its state and its last rows are dropped only when the next one's
        # state is there
        of_table = max(state + _ADAMW8_BYTES_A_NUMBER * chunk, 2 * state + 8 * last)
    if storage.host_gradients:
        of_table += 4 * embedding_parameters(model)
    return max(_STEP_BYTES_A_NUMBER * together, of_table)


def _adamw8_chunks(model: ModelSpec) -> tuple[int, int]:
    """Numbers of a table that are updated together: of most chunks, and of the last one."""
    shape = shape_of(model)
    rows = max(1, _ADAMW_NUMBERS // shape.width // _BLOCK) * _BLOCK
    rows = min(rows, shape.vocab_size)
    return rows * shape.width, (shape.vocab_size % rows or rows) * shape.width
