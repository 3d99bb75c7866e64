"""RunSpec: everything that decides what a run computes. Pinned when the run is created."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any

from trainer.contract import toml
from trainer.contract.choices import DEFAULT_CORPUS
from trainer.contract.contradictions import contradictions

#: whole numbers must fit the store's 64 bits; floats this large mean nothing here
_LARGEST = (1 << 63) - 1


def _at_least(minimum: float, maximum: float | None = None) -> dict[str, Any]:
    return {"minimum": minimum, "maximum": maximum}


@dataclass(frozen=True)
class ModelSpec:
    """Classic nanochat's one dial and what hangs on it (karpathy/nanochat at 3a5e0bc)."""

    #: layers; the width is 64 times this
    depth: int = field(default=20, metadata=_at_least(1, 256))
    #: tokens in the vocabulary, special tokens included
    vocab_size: int = field(default=65_536, metadata=_at_least(512, 1 << 20))
    #: context in tokens
    sequence_length: int = field(default=2048, metadata=_at_least(8, 1 << 20))
    #: key/value heads; 0 means as many as query heads
    kv_heads: int = field(default=0, metadata=_at_least(0))


@dataclass(frozen=True)
class DataSpec:
    """The corpus and how it is cut."""

    #: a directory of .txt, .jsonl and .parquet files, or "default": Python's standard library
    corpus: str = DEFAULT_CORPUS
    #: documents per thousand that are kept for validation, chosen by the hash of their text;
    #: a corpus with files below a directory "validation" has its validation split there instead
    validation_permille: int = field(default=20, metadata=_at_least(1, 500))
    #: characters of text that the tokenizer is trained on
    tokenizer_characters: int = field(default=2_000_000_000, metadata=_at_least(10_000))
    #: whether the corpus may be read more than once; a run that would need to is refused else
    allow_repeats: bool = False


@dataclass(frozen=True)
class TrainSpec:
    """The optimisation: horizon, batch, precision recipe, schedule."""

    #: the horizon in optimizer steps; 0 means: from ``tokens``
    steps: int = field(default=0, metadata=_at_least(0))
    #: the horizon in tokens; 0 with steps 0 means 20 tokens a parameter
    tokens: int = field(default=0, metadata=_at_least(0))
    #: tokens in one optimizer step
    batch_tokens: int = field(default=524_288, metadata=_at_least(8))
    #: sequences in one micro-batch
    micro_batch: int = field(default=8, metadata=_at_least(1))
    #: the precision recipe, one of PRECISIONS; "auto" is int8 on Ada cards (RTX 40), bf16-8bit
    #: on other CUDA devices, bf16 on a CPU
    precision: str = "bf16"
    #: what updates the matrices of the blocks, one of OPTIMIZERS; "auto" is the recipe's own
    optimizer: str = "auto"
    #: rank of qlora-4bit's adapters; 0 means a quarter of the width (512 for d32). Twice the rank
    #: costs d32 3 GB more of the card
    adapter_rank: int = field(default=0, metadata=_at_least(0, 1 << 16))
    #: steps between qlora-4bit's first merge and its second, each later interval is a fifth
    #: longer; 0 means 100, or a 20th of a horizon below 2,000 steps
    merge_interval_steps: int = field(default=0, metadata=_at_least(0))
    #: what recipe w2.6 packs the MLP's matrices to, one of MLP_CODECS: "seq2" (two bits) or
    #: "ternary" (1.73 bits: 0.2 GB less of the card at d32, and a worse model)
    mlp_codec: str = "seq2"
    #: multiplies every learning rate of the classic recipe
    lr_scale: float = field(default=1.0, metadata=_at_least(1e-6, 1e3))
    #: the last part of the horizon over which the learning rate falls to zero
    warmdown_ratio: float = field(default=0.2, metadata=_at_least(0.0, 1.0))
    #: gradients are scaled down to this norm; 0 switches clipping off
    gradient_clip: float = field(default=1.0, metadata=_at_least(0.0))
    #: validation every so many steps; 0 means only before and after
    eval_every_steps: int = field(default=250, metadata=_at_least(0))
    #: validation tokens looked at each time
    eval_tokens: int = field(default=1_048_576, metadata=_at_least(1))
    #: torch.compile the model; may change the bytes between machines
    compile: bool = False
    #: one of DEVICES
    device: str = "auto"
    #: CPU threads; 0 means all cores at the first start, pinned from then on
    threads: int = field(default=0, metadata=_at_least(0, 4096))


@dataclass(frozen=True)
class MemorySpec:
    """Where a run's tensors lie: memory against time.

    ``optimizer_state`` and ``activation_checkpointing`` leave the bytes as they are and may be
    changed at any start of a run; the others are part of what it computes. Figures are for d32
    (1,879,048,192 parameters) and 8-bit states.

    A 12 GB card (RTX 4070) takes d32 with precision = "bf16-8bit" or "int8", micro_batch = 4 and
    everything else "auto": 10 GiB of the card, 4 GB of host memory. An 8 GB card ("RTX 4070
    Laptop") takes it with precision = "nf4", micro_batch = 2 and gradients = "host": about 4 GiB
    and 15 GB of host memory; or with precision = "qlora-4bit", micro_batch = 2 and
    optimizer_state = "device": about 6.5 GiB, and 3 GB of host memory for its gradients.
    """

    #: one of PLACES. "host" parks the state in (pinned) host memory between steps and streams it
    #: through the device, one matrix at a time: saves 2 GB of the card (4 with the residual) for
    #: as much host memory and about half a second a step. "auto": host on CUDA in 8-bit recipes
    optimizer_state: str = "auto"
    #: one of PLACES. On the device they are summed up in the weights' dtype (3.8 GB, at most 64
    #: micro-batches in bf16); "host" sums up in float32 (7.5 GB of host memory) and sends them
    #: over PCIe with every micro-batch, somewhat under a second each. "auto": on the host where
    #: the device may not
    gradients: str = "auto"
    #: one of SWITCH. "on" computes each block a second time in the backward pass instead of
    #: keeping its activations: a third more FLOPs for a sixth of the memory.
    #: "auto": on on CUDA in 8-bit recipes
    activation_checkpointing: str = "auto"
    #: one of RESIDUALS: eight more bits for each bf16 weight (1.9 GB, with the optimizer's
    #: state). Small learning rates drown in bf16's rounding, so the warm-down wants them
    residual: str = "warmdown"


#: what every_seconds = 0 comes to for a large model on a home disk, for estimates
USUAL_SAVE_SECONDS = 600.0


@dataclass(frozen=True)
class CheckpointSpec:
    """When the trainer saves by itself, and how much history is kept."""

    #: seconds between two saves; 0 means: by cost, observed outages and wear of the SSD
    every_seconds: float = field(default=0.0, metadata=_at_least(0.0))
    #: what a power cut at the worst moment may cost when every_seconds is 0; a step that takes
    #: longer is saved each time
    most_lost_seconds: float = field(default=900.0, metadata=_at_least(60.0))
    #: steps between two saves; 0 means only by time
    every_steps: int = field(default=0, metadata=_at_least(0))
    #: newest generations kept, never fewer than two
    keep: int = field(default=3, metadata=_at_least(2, 1000))
    #: one of RAM_TIERS. "auto" copies the state of each step to shared memory, where no kill of a
    #: process takes it away: to two slots where the machine has room for two, else to one or none.
    #: Where there is none, and when "off", checkpoints stream to the disk through a ring of at most
    #: 256 MiB
    ram: str = "auto"
    #: one of WRITERS: who writes the checkpoints that are due by schedule. "process" is one that
    #: outlives the trainer, while training goes on; "auto" has it write states that are not small
    writer: str = "auto"


@dataclass(frozen=True)
class GuardSpec:
    """When training goes back to an earlier checkpoint by itself, and when it gives up."""

    #: steps in a row whose loss or gradient is not finite or far too high
    max_bad_steps: int = field(default=3, metadata=_at_least(1, 1000))
    #: times that training goes back at one place; 0 gives up at once
    max_rollbacks: int = field(default=3, metadata=_at_least(0, 100))
    #: robust standard deviations above the usual loss or gradient that make a step bad; 0: never
    spike_sigmas: float = field(default=12.0, metadata=_at_least(0.0, 1e6))
    #: good steps that say what is usual
    spike_window: int = field(default=128, metadata=_at_least(8, 10_000))
    #: the part of all micro-batches that is computed twice and compared bit for bit, to catch
    #: memory and processors that make mistakes; 0: none
    sentinel_ratio: float = field(default=0.005, metadata=_at_least(0.0, 1.0))


@dataclass(frozen=True)
class RunSpec:
    """One training job."""

    #: unique, lower case; names its directory and its metrics
    name: str
    #: seeds the weights and the order of the documents
    seed: int = field(default=1337, metadata=_at_least(0, (1 << 63) - 1))
    #: what the sample at the end of training continues
    sample_prompt: str = "def "
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    train: TrainSpec = TrainSpec()
    memory: MemorySpec = MemorySpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    guard: GuardSpec = GuardSpec()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; ``from_dict`` reads it back."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """SHA-256 over all that decides the bytes: not the saving habits, not where state rests.

        Keys that came later count only when they are not at their defaults, so that the runs of
        an older homerun keep their digest.
        """
        plain = self.to_dict()
        for name in NOT_IN_DIGEST:
            table, _, key = name.partition(".")
            if key:
                del plain[table][key]
            else:
                del plain[table]
        for table, key, default in _CAME_LATER:
            if plain[table][key] == default:
                del plain[table][key]
        plain = {key: value for key, value in plain.items() if value != {}}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def micro_batches(self) -> int:
        """Micro-batches in one optimizer step (gradient accumulation)."""
        return self.train.batch_tokens // (self.train.micro_batch * self.model.sequence_length)


#: tables and keys that do not change what a run computes
NOT_IN_DIGEST = (
    "checkpoint",
    "guard",
    "data.allow_repeats",
    "memory.optimizer_state",
    "memory.activation_checkpointing",
)
_CAME_LATER = (
    ("train", "optimizer", "auto"),
    ("train", "adapter_rank", 0),
    ("train", "merge_interval_steps", 0),
    ("train", "mlp_codec", "seq2"),
    ("memory", "gradients", "auto"),
    ("memory", "residual", "warmdown"),
)


def load(path: Path) -> RunSpec:
    """Read a run's TOML file.

    A relative corpus directory is taken from the file's own directory.

    Raises:
        toml.InvalidFileError: with every problem of the file.
    """
    plain, text = toml.read(path)
    spec = from_dict(plain, file=str(path), text=text)
    if spec.data.corpus == DEFAULT_CORPUS:
        return spec
    corpus = (path.resolve().parent / Path(spec.data.corpus).expanduser()).resolve()
    return dataclasses.replace(spec, data=dataclasses.replace(spec.data, corpus=str(corpus)))


def from_dict(plain: dict[str, Any], *, file: str = "spec", text: str = "") -> RunSpec:
    """Check and freeze a spec that came as TOML or JSON.

    Raises:
        toml.InvalidFileError: with every problem, each with its line in ``text``.
    """
    problems: list[toml.Problem] = []

    def complain(key: toml.Key, message: str) -> None:
        line = toml.line_of(text, key)
        problems.append(toml.Problem(file, line, toml.dotted(key), message))

    values = _check_table(RunSpec, plain, (), complain)
    if isinstance(plain, dict) and "name" not in plain:
        complain(("name",), 'missing; give the run a name: name = "my-run"')
    if problems:
        raise toml.InvalidFileError(problems)
    spec: RunSpec = values
    for key, message in contradictions(spec):
        complain(key, message)
    if problems:
        raise toml.InvalidFileError(problems)
    return spec


def _check_table(cls: type, plain: Any, path: tuple[str, ...], complain: Any) -> Any:
    if not isinstance(plain, dict):
        complain(path, f"must be a table, not {_kind(plain)}")
        return None
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for name, value in plain.items():
        key = (*path, name)
        if name not in known:
            complain(key, toml.unknown_key(name, known))
        elif dataclasses.is_dataclass(hints[name]):
            values[name] = _check_table(typing.cast(type, hints[name]), value, key, complain)
        else:
            message = _wrong(value, hints[name], known[name].metadata)
            if message:
                complain(key, message)
            values[name] = float(value) if hints[name] is float and not message else value
    try:
        return cls(**values)
    except TypeError:
        return None


def _wrong(value: Any, kind: type, limits: Any) -> str:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        return f"must be {names[kind]}, not {_kind(value)}"
    if isinstance(value, int | float) and abs(value) > _LARGEST:
        return "is out of range"
    if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
        return "must be a text that can be written as UTF-8"
    low, high = limits.get("minimum"), limits.get("maximum")
    if low is not None and not value >= low:
        return f"must be at least {low:g} (is {value})"
    if high is not None and not value <= high:
        return f"must be at most {high:g} (is {value})"
    return ""


def _kind(value: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if isinstance(value, date | time):
        return "a date or time"
    return names.get(type(value), "a table" if isinstance(value, dict) else "a list")
