"""What a training step holds at its peak, counted by torch without allocating it.

FakeTensorMode makes tensors that have a size and no memory; MemTracker sums them up. The way is
that of torch's own documentation of ``torch.distributed._tools.mem_tracker``.
"""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from trainer import adamw
from trainer.contract.spec import MemorySpec, ModelSpec, RunSpec, TrainSpec
from trainer.moments import linear_map
from trainer.precision import build
from trainer.precision.kept import Keeping
from trainer.state import State

CPU = torch.device("cpu")


def a_run(
    precision: str, depth: int, micro_batch: int, *, again: bool, sequence_length: int = 2048
) -> RunSpec:
    """A run whose micro-batches are full; ``again``: blocks compute twice."""
    return RunSpec(
        name="counted",
        model=ModelSpec(depth=depth, sequence_length=sequence_length),
        train=TrainSpec(
            precision=precision,
            micro_batch=micro_batch,
            batch_tokens=4 * micro_batch * sequence_length,
        ),
        memory=MemorySpec(
            activation_checkpointing="on" if again else "off",
            optimizer_state="host",
            residual="always",
        ),
    )


def activation_peak_bytes(spec: RunSpec) -> int:
    """The peak of the second micro-batch of a step beyond weights, tables and gradients."""
    with FakeTensorMode():
        keeping = build(spec, CPU)
        tracker = MemTracker()
        tracker.track_external(keeping.model)
        with tracker:
            _micro_batch(keeping, spec)
            tracker.reset_mod_stats()
            _micro_batch(keeping, spec)
        peak = tracker.get_tracker_snapshot("peak")[CPU]["Total"]
        return int(peak) - _resting_bytes(keeping)


def step_bytes(spec: RunSpec) -> int:
    """What an optimizer step needs beyond what was there before it.

    Whoever calls it has seen to it that the norm of the gradients is a number: fake tensors have
    no values.
    """
    # tables of numbers that the primitives look up, made of real tensors once
    linear_map(CPU)
    adamw._map(CPU, signed=True), adamw._map(CPU, signed=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        state = State(spec, CPU)
        _micro_batch(state.keeping, spec)
        tracker = MemTracker()
        gradients = [kept.gradient.sum() for kept in state.keeping.trained]
        resting = [kept.tensor for kept in state.optimizer.resting().values()]
        tracker.track_external(state.model, *gradients, *resting)
        # a snapshot holds the parts and their total
        before = sum(tracker.get_tracker_snapshot("current")[CPU].values()) // 2
        with tracker:
            # in the warm-down, where residuals are
            state.optimizer.step(90, 100)
        return int(tracker.get_tracker_snapshot("peak")[CPU]["Total"]) - before


def _micro_batch(keeping: Keeping, spec: RunSpec) -> None:
    ids = torch.zeros(spec.train.micro_batch, spec.model.sequence_length, dtype=torch.long)
    with keeping.recipe.autocast(CPU):
        loss = keeping.model.loss(ids, ids)
    torch.autograd.backward(loss / spec.micro_batches)


def _resting_bytes(keeping: Keeping) -> int:
    tensors = [*keeping.model.parameters(), *keeping.model.buffers()]
    gradients = sum(kept.gradient.size_bytes() for kept in keeping.trained)
    return gradients + sum(each.numel() * each.element_size() for each in tensors)
