"""What a spec must not say although each of its values has the right type. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainer.contract import toml
from trainer.contract.choices import (
    DEFAULT_CORPUS,
    DEVICES,
    MLP_CODECS,
    MOST_BF16_MICRO_BATCHES,
    OPTIMIZERS,
    PLACES,
    PRECISIONS,
    RAM_TIERS,
    RESIDUALS,
    SWITCH,
    WRITERS,
)

if TYPE_CHECKING:
    from trainer.contract.spec import RunSpec

#: a key, and what is wrong with it
Complaint = tuple[tuple[str, ...], str]
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}\Z")


def contradictions(spec: RunSpec) -> list[Complaint]:
    """What each key allows and all of them together do not; empty for a spec that can run."""
    found: list[Complaint] = []
    if not _NAME.match(spec.name):
        found.append((("name",), "use lower-case letters, digits, '.', '_' and '-', at most 63"))
    if not spec.data.corpus or "\0" in spec.data.corpus:
        found.append((("data", "corpus"), f'name a directory, or "{DEFAULT_CORPUS}"'))
    return [*found, *_wrong_choices(spec), *_wrong_batches(spec), *_wrong_sizes(spec)]


def _wrong_choices(spec: RunSpec) -> Iterator[Complaint]:
    train, memory = spec.train, spec.memory
    again = memory.activation_checkpointing
    for key, value, choices in (
        (("train", "precision"), train.precision, PRECISIONS),
        (("train", "optimizer"), train.optimizer, OPTIMIZERS),
        (("train", "mlp_codec"), train.mlp_codec, MLP_CODECS),
        (("train", "device"), train.device, DEVICES),
        (("memory", "optimizer_state"), memory.optimizer_state, PLACES),
        (("memory", "gradients"), memory.gradients, PLACES),
        (("memory", "activation_checkpointing"), again, SWITCH),
        (("memory", "residual"), memory.residual, RESIDUALS),
        (("checkpoint", "ram"), spec.checkpoint.ram, RAM_TIERS),
        (("checkpoint", "writer"), spec.checkpoint.writer, WRITERS),
    ):
        if value not in choices:
            hint = toml.nearest(value, choices) or f"choose one of {', '.join(choices)}"
            yield key, f"no such choice {value!r}; {hint}"
    if train.mlp_codec != "seq2" and train.precision != "w2.6":
        yield ("train", "mlp_codec"), 'is for precision = "w2.6" alone; leave it out'


def _wrong_batches(spec: RunSpec) -> Iterator[Complaint]:
    train = spec.train
    micro_tokens = train.micro_batch * spec.model.sequence_length
    if train.batch_tokens % micro_tokens:
        yield (
            ("train", "batch_tokens"),
            f"must be a multiple of micro_batch * sequence_length = {micro_tokens}",
        )
    if train.steps and train.tokens:
        yield ("train", "tokens"), "give the horizon in steps or in tokens, not in both"
    if train.tokens and train.tokens < train.batch_tokens:
        yield ("train", "tokens"), "must be at least one step's batch_tokens"
    sums_in_bf16 = train.precision not in ("auto", "fp32", "bf16")
    too_many = spec.micro_batches > MOST_BF16_MICRO_BATCHES
    if sums_in_bf16 and too_many and spec.memory.gradients == "device":
        yield ("memory", "gradients"), too_many_to_sum(spec.micro_batches)


def too_many_to_sum(micro_batches: int) -> str:
    """Why so many micro-batches cannot be summed up on the device, and what to do."""
    return (
        f"{micro_batches} micro-batches a step are too many to sum up in bf16 on the device, at "
        f"most {MOST_BF16_MICRO_BATCHES} are exact enough: "
        'set [memory] gradients = "host", or a larger [train] micro_batch'
    )


def _wrong_sizes(spec: RunSpec) -> Iterator[Complaint]:
    depth, width = spec.model.depth, 64 * spec.model.depth
    if spec.train.adapter_rank > width:
        yield ("train", "adapter_rank"), f"must be at most the width, {width} channels"
    heads = max(1, (width + 127) // 128)
    if width % heads or (width // heads) % 2:
        yield (
            ("model", "depth"),
            f"depth {depth} is not a nanochat: {width} channels do not divide into {heads} heads "
            f"of equal, even size; take {depth - 1} or {depth + 1}",
        )
    kv_heads = spec.model.kv_heads or heads
    if heads % kv_heads:
        yield ("model", "kv_heads"), f"must divide the {heads} query heads"
