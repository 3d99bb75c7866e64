"""Bytes of a training step, by what they are for.

The model: two peaks compete. In forward and backward, weights, gradients, the activations that
backward needs and either the loss's logits or one block's working set are alive; in the optimizer
step, weights, gradients and the state of what is being updated. The larger one, and on top of it
what the allocator cannot use (fragmentation) and what CUDA keeps for itself (context).

The bytes a token and channel were counted with torch's MemTracker under FakeTensorMode on the
whole model (``tests/unit/sizing/test_reality.py`` counts again). Fragmentation and context are
customary figures for a caching allocator with fixed sizes; only a GPU can tell
(``make gpu-check``).
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.contract.spec import ModelSpec, RunSpec
from trainer.sizing.shape import (
    attention_parameters,
    embedding_parameters,
    mlp_parameters,
    shape_of,
)
from trainer.sizing.storage import Kept, Storage, storage_of

#: sequences of a micro-batch that a plan tries, largest first
MICRO_BATCHES = (16, 8, 4, 2, 1)
#: rows of the head's logits that are computed at a time
LOSS_ROWS = 256
CONTEXT_BYTES = int(0.45 * (1 << 30))
_FRAGMENTATION = 0.04


@dataclass(frozen=True)
class _Activations:
    """Bytes for each token and channel."""

    #: kept for backward by one block that does not compute again
    saved: float
    #: kept for backward by one block that does: its input
    boundary: float
    #: alive at once while one block goes backward, what it saved included
    working: float
    #: beside the blocks: embedding, last norm, gradient of the residual stream
    rest: float
    #: bytes for each logit of a chunk
    logit: float


_BY_STREAM = {
    # float32 residual stream, float32 matmuls
    (4, False): _Activations(saved=72, boundary=4, working=120, rest=16, logit=20),
    # float32 residual stream, bf16 matmuls by autocast
    (4, True): _Activations(saved=48, boundary=4, working=96, rest=17, logit=22),
    # everything in bf16
    (2, False): _Activations(saved=44, boundary=2, working=74, rest=4, logit=20),
}
#: room in a checkpoint for its manifest and the tensors' headers
_MANIFEST_BYTES = 65_536
#: float32 temporaries of Newton-Schulz and of unpacking, for each number of the largest matrix
_STEP_BYTES_A_NUMBER = 22


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
    shape = shape_of(model)
    weights = held(model, storage, "weight") + adapter_parameters(model, storage) * 2
    gradients = held(model, storage, "gradient") + adapter_parameters(model, storage) * 2
    state = held(model, storage, "state") + adapter_parameters(model, storage) * storage.head.state
    master = held(model, storage, "master")
    host_sums = 0.0
    if storage.host_gradients:
        # the head's gradient, the largest, is on its way while the first block's is computed
        host_sums = 4 * gradients / storage.head.gradient
        gradients = embedding_parameters(model) * storage.head.gradient
    saved, working, logits = _activations(model, storage, micro_batch, loss_rows)
    step = _STEP_BYTES_A_NUMBER * 4 * shape.width * shape.width
    on_gpu = 0.0 if storage.on_host else state + master
    base = weights + gradients + on_gpu
    forward_backward = base + saved + max(working, logits)
    peak = max(forward_backward, base + step)
    fragmentation = _FRAGMENTATION * peak
    return Memory(
        micro_batch=micro_batch,
        weights=round(weights),
        gradients=round(gradients),
        state=round(on_gpu),
        activations=round(saved + working),
        logits=round(logits),
        step=round(step),
        context=CONTEXT_BYTES,
        fragmentation=round(fragmentation),
        peak=round(peak + fragmentation) + CONTEXT_BYTES,
        peak_phase="forward and backward" if forward_backward >= peak else "optimizer step",
        host=round((state + master if storage.on_host else 0) + host_sums),
    )


def checkpoint_bytes_of(model: ModelSpec, storage: Storage) -> int:
    """About how large one checkpoint is: weights or their master, and the optimizer's state.

    Packed weights are rounded from their master, so only the master is saved with them.
    """
    kept = sum(held(model, storage, what) for what in ("weight", "state", "master"))
    adapters = adapter_parameters(model, storage) * (2 + storage.head.state)
    return round(kept + adapters) + _MANIFEST_BYTES


def checkpoint_bytes(spec: RunSpec) -> int:
    """The same for a run."""
    return checkpoint_bytes_of(spec.model, storage_of(spec))


def held(model: ModelSpec, storage: Storage, what: str) -> float:
    """Bytes of one category over all weights: "weight", "gradient", "state" or "master"."""
    table = embedding_parameters(model)
    parts: tuple[tuple[int, Kept], ...] = (
        (attention_parameters(model), storage.attention),
        (mlp_parameters(model), storage.mlp),
        (table, storage.embedding),
        (table, storage.head),
    )
    return sum(numbers * float(getattr(kept, what)) for numbers, kept in parts)


def _activations(
    model: ModelSpec, storage: Storage, micro_batch: int, loss_rows: int
) -> tuple[float, float, float]:
    """Bytes kept for backward; one block's working set; the loss's."""
    shape = shape_of(model)
    per = _BY_STREAM[storage.stream, storage.casts]
    channels = micro_batch * shape.sequence_length * shape.width
    rows = min(loss_rows, micro_batch * shape.sequence_length)
    table = embedding_parameters(model)
    matrices = attention_parameters(model) + mlp_parameters(model)
    logits = rows * shape.vocab_size * per.logit + table * storage.head.gradient
    if storage.casts:
        logits += 2 * table
    if storage.recompute:
        saved = channels * (per.boundary * shape.layers + per.rest)
        one_block = per.working * channels
        if storage.casts or storage.packed:
            # the block's matrices unpacked or cast
            one_block += 2 * matrices / shape.layers
        return saved, one_block, logits
    saved = channels * (per.saved * shape.layers + per.rest)
    if storage.casts or storage.packed:
        saved += 2 * matrices
    return saved, (per.working - per.saved) * channels, logits


def adapter_parameters(model: ModelSpec, storage: Storage) -> float:
    """Trained numbers of low-rank adapters; 0 where the matrices themselves are trained."""
    shape = shape_of(model)
    rank = storage.rank_of_width * shape.width
    attention = 4 * 2 * shape.width
    mlp = 2 * 5 * shape.width
    return shape.layers * rank * (attention + mlp)
