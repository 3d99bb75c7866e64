"""What each recipe keeps, in bytes a number: weights, gradients, optimizer state, master.

Scales are counted with the numbers they belong to: a block of 64 NF4 numbers has one float32
maximum, so a number costs 4/8 + 4/64 bytes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from trainer.contract.choices import MOST_BF16_MICRO_BATCHES
from trainer.contract.spec import RunSpec

#: bitsandbytes' blocks: 256 numbers share the float32 scale of an 8-bit state, 64 that of NF4
_INT8 = 1 + 4 / 256
_NF4 = 4 / 8 + 4 / 64
#: the maxima in eight bits themselves, with a float32 scale for 256 of them
_NF4_DOUBLE = 4 / 8 + 1 / 64 + 4 / (64 * 256)
#: eight numbers in three bytes, and a 16-bit scale for 64 of them
_THREE_BITS = 3 / 8 + 2 / 64
_TWO_BITS = 2 / 8 + 2 / 64
#: five ternary digits a byte, and a 16-bit scale for 128 of them
_TERNARY = 1 / 5 + 2 / 128
#: a bf16 master with an 8-bit residual
_MASTER = 3.0
_RESIDUAL = 1.0
_MUON8 = _INT8
_ADAMW8 = 2 * _INT8


@dataclass(frozen=True)
class Kept:
    """One kind of weight, in bytes a number."""

    #: what forward and backward read, on the GPU
    weight: float
    #: accumulated over the micro-batches, on the GPU
    gradient: float
    #: momentum and moments
    state: float
    #: what the weight is rounded from, beyond the weight itself
    master: float = 0.0


@dataclass(frozen=True)
class Storage:
    """One recipe with its switches."""

    #: as people name it: the recipe of the spec, with the switch that tells it from its siblings
    name: str
    #: as the spec names it
    precision: str
    attention: Kept
    mlp: Kept
    embedding: Kept
    head: Kept
    #: of the activations: "float32"; "mixed", bf16 matmuls on a float32 residual stream; "bf16"
    activations: str
    #: blocks compute their activations again in the backward pass
    recompute: bool = True
    #: master and optimizer state are in host memory between the steps
    on_host: bool = False
    #: gradients are summed up in float32 in host memory, after every micro-batch
    host_gradients: bool = False
    #: float32 weights are cast to bf16 for the matmuls, and the copies kept until backward
    casts: bool = False
    #: weights are unpacked before each use
    packed: bool = False
    #: the matmuls of the blocks run in int8
    int8_matmuls: bool = False
    #: Muon trains the matrices; otherwise AdamW does
    muon: bool = True
    #: matrices are frozen; what is trained is an adapter on each
    adapters: bool = False
    #: of the adapters; 0: a quarter of the width
    adapter_rank: int = 0
    experimental: bool = False


def _lean(name: str, precision: str, attention: Kept, mlp: Kept, **more: bool | float) -> Storage:
    """bf16 embedding and head with an 8-bit residual, 8-bit AdamW for both."""
    table = Kept(2, 2, _ADAMW8, _RESIDUAL)
    switches = {"on_host": True, **more}
    return Storage(name, precision, attention, mlp, table, table, "bf16", **switches)  # type: ignore[arg-type] # switches by name


def _bf16_8bit(name: str, **more: bool) -> Storage:
    matrix = Kept(2, 2, _MUON8, _RESIDUAL)
    return _lean(name, name.split()[0], matrix, matrix, **more)


def _packed(
    name: str, precision: str, attention: float, mlp: float, state: float, **more: bool
) -> Storage:
    """Only the packed weights on the GPU; the master on the host; gradients straight through."""
    return _lean(
        name,
        precision,
        Kept(attention, 2, state, _MASTER),
        Kept(mlp, 2, state, _MASTER),
        packed=True,
        muon=state == _MUON8,
        **more,
    )


_FULL = Kept(4, 4, 4)
_FULL_ADAMW = Kept(4, 4, 8)
_HALF_ADAMW = Kept(2, 2, 4)
_FROZEN = Kept(_NF4, 0, 0)

STORAGES: tuple[Storage, ...] = (
    Storage("fp32", "fp32", _FULL, _FULL, _FULL_ADAMW, _FULL_ADAMW, "float32", recompute=False),
    Storage(
        "bf16",
        "bf16",
        _FULL,
        _FULL,
        _HALF_ADAMW,
        _FULL_ADAMW,
        "mixed",
        recompute=False,
        casts=True,
    ),
    _bf16_8bit("bf16-8bit"),
    _bf16_8bit("int8", int8_matmuls=True),
    _packed("nf4", "nf4", _NF4, _NF4, _MUON8),
    _packed("nf4 adamw8", "nf4", _NF4, _NF4, _ADAMW8),
    _lean(
        "qlora-4bit",
        "qlora-4bit",
        _FROZEN,
        _FROZEN,
        packed=True,
        muon=False,
        adapters=True,
    ),
    _packed("w3", "w3", _THREE_BITS, _THREE_BITS, _MUON8),
    _packed("w2.6", "w2.6", _NF4_DOUBLE, _TWO_BITS, _MUON8, experimental=True),
    _packed("w2.6 ternary", "w2.6", _NF4_DOUBLE, _TERNARY, _MUON8, experimental=True),
)


def storages_of(precision: str) -> tuple[Storage, ...]:
    """All that a recipe of the spec may store; empty for a name that there is none of."""
    return tuple(each for each in STORAGES if each.precision == precision)


def summing(storage: Storage, micro_batches: int) -> Storage:
    """The same recipe with its gradients where so many micro-batches want them."""
    too_many = storage.head.gradient == 2 and micro_batches > MOST_BF16_MICRO_BATCHES
    return dataclasses.replace(storage, host_gradients=too_many)


def storage_of(spec: RunSpec) -> Storage:
    """What a run keeps, and where; every "auto" as on a CUDA device.

    An unknown recipe (the contract refuses it) is taken for the first.
    """
    precision = "int8" if spec.train.precision == "auto" else spec.train.precision
    known = [each for each in STORAGES if each.precision == precision] or [STORAGES[0]]
    if spec.train.mlp_codec == "ternary":
        known = [each for each in known if each.name.endswith("ternary")] or known
    base = known[0]
    if spec.train.optimizer == "adamw8" and base.muon:
        base = _with_adamw8(base)
    if spec.memory.residual == "off":
        base = _without_residual(base)
    memory = spec.memory
    gradients_on_host = memory.gradients == "host" or (
        memory.gradients == "auto" and summing(base, spec.micro_batches).host_gradients
    )
    return dataclasses.replace(
        base,
        on_host=_chosen(memory.optimizer_state, "host", base.on_host),
        recompute=_chosen(memory.activation_checkpointing, "on", base.recompute),
        host_gradients=gradients_on_host,
        adapter_rank=spec.train.adapter_rank,
    )


def _with_adamw8(storage: Storage) -> Storage:
    """8-bit AdamW in the place of Muon."""
    attention = dataclasses.replace(storage.attention, state=_ADAMW8)
    mlp = dataclasses.replace(storage.mlp, state=_ADAMW8)
    name = f"{storage.name} adamw8"
    return dataclasses.replace(storage, name=name, attention=attention, mlp=mlp, muon=False)


def _chosen(switch: str, thrifty: str, by_itself: bool) -> bool:
    return by_itself if switch == "auto" else switch == thrifty


def _with_adamw(storage: Storage) -> Storage:
    """8-bit AdamW for the matrices of the blocks, too: two moments where Muon has one."""
    attention, mlp = (
        dataclasses.replace(kept, state=_ADAMW8) for kept in (storage.attention, storage.mlp)
    )
    return dataclasses.replace(storage, attention=attention, mlp=mlp, muon=False)


def _without_residual(storage: Storage) -> Storage:
    """The eight bits beyond bf16 are kept by nobody."""

    def less(kept: Kept) -> Kept:
        return dataclasses.replace(kept, master=max(0.0, kept.master - _RESIDUAL))

    return dataclasses.replace(
        storage,
        attention=less(storage.attention),
        mlp=less(storage.mlp),
        embedding=less(storage.embedding),
        head=less(storage.head),
    )
