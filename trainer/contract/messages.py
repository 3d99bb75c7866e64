"""Commands down to the trainer, events up from it: one JSON object a line, tagged by ``type``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

PROTOCOL = 1


class ProtocolError(ValueError):
    """A line that is no message of ours."""


# --- commands -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pause:
    """Stop computing within one micro-batch; keep the process and its memory."""


@dataclass(frozen=True)
class Resume:
    """Go on computing; takes a Finish back, too."""


@dataclass(frozen=True)
class Save:
    """Save the state of the last finished step now; answered with the same ``request``."""

    request: str = ""


@dataclass(frozen=True)
class Finish:
    """Leave at the next checkpoint that is due anyway; ends a pause, which would never reach it."""


@dataclass(frozen=True)
class Stop:
    """Save the state of the last finished step, then leave."""


Command = Pause | Resume | Save | Finish | Stop

# --- events -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """The trainer is up. It has not taken the run's lock yet."""

    run: str
    attempt: int
    pid: int
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Ready:
    """Data, model and state are loaded; the next step is ``step``."""

    step: int
    steps: int
    parameters: int
    flops_per_token: float
    #: the checkpoint it resumed from; empty for a fresh start
    checkpoint: str
    #: what the bytes depend on: versions, threads, device
    environment: dict[str, Any]
    #: dense peak that MFU is measured against, and where it is from
    peak_flops: float
    peak_source: str


@dataclass(frozen=True)
class Phase:
    """What the trainer does now: start, data, load, train, eval, checkpoint, paused, done.

    ``fraction`` is 0..1, or negative when nobody can say.
    """

    phase: str
    detail: str = ""
    fraction: float = -1.0


@dataclass(frozen=True)
class Heartbeat:
    """Progress within a step: ``micro`` of ``micro_batches`` are done. Throttled."""

    step: int
    micro: int
    micro_batches: int


@dataclass(frozen=True)
class Step:
    """One optimizer step is done; ``step`` counts the finished ones."""

    step: int
    steps: int
    tokens: int
    epoch: float
    loss: float
    gradient_norm: float
    lr_multiplier: float
    seconds: float
    tokens_per_second: float
    mfu: float
    #: seconds of this step by phase: data, compute, optimizer; sentinel where it looked
    phases: dict[str, float]


@dataclass(frozen=True)
class Evaluated:
    """Validation after ``step`` finished steps, in bits per byte and nats per token."""

    step: int
    bits_per_byte: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint is committed: durable and complete."""

    step: int
    name: str
    size_bytes: int
    #: from the first byte to the commit
    seconds: float
    #: schedule, request, stop, finish, eval, final, rollback
    reason: str
    request: str = ""
    #: of ``seconds`` and of the copy before it, what training has waited for
    stall_seconds: float = 0.0


@dataclass(frozen=True)
class SaveFailed:
    """A save was abandoned; older checkpoints are untouched and training goes on."""

    step: int
    reason: str
    message: str
    request: str = ""
    #: disk_full, io, fenced, removed, damaged
    kind: str = "io"


@dataclass(frozen=True)
class RolledBack:
    """Training went back from ``from_step`` finished steps to ``to_step``; the next is after it."""

    from_step: int
    to_step: int
    #: the checkpoint that it goes on from, saved anew with what is left out; empty: not saved
    checkpoint: str
    #: the spans [first, end) of global batches that the run leaves out, all of them
    skipped: list[list[int]]
    #: checkpoints that are of no use any more; they are set aside
    undone: list[str]
    #: how often it has gone back at this place
    times: int
    why: str


@dataclass(frozen=True)
class Notice:
    """Something a person should read later: epoch_passed, checkpoint_damaged…"""

    kind: str
    message: str
    severity: str = "warning"


@dataclass(frozen=True)
class Finished:
    """The horizon is reached and the final checkpoint is committed."""

    step: int
    bits_per_byte_before: float
    bits_per_byte: float
    sample: str
    checkpoint: str


@dataclass(frozen=True)
class Stopped:
    """The trainer leaves as it was told; ``step`` finished steps are on the disk."""

    step: int
    #: stop, finish
    reason: str
    #: finished steps that only a slot in memory has; 0: no more than are on the disk
    memory_step: int = 0


@dataclass(frozen=True)
class Failed:
    """The trainer leaves because it cannot go on; ``retry`` says whether trying again may help."""

    kind: str
    message: str
    retry: bool = True


Event = (
    Hello
    | Ready
    | Phase
    | Heartbeat
    | Step
    | Evaluated
    | Saved
    | SaveFailed
    | RolledBack
    | Notice
    | Finished
    | Stopped
    | Failed
)
Message = Command | Event

_TYPES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Pause,
        Resume,
        Save,
        Finish,
        Stop,
        Hello,
        Ready,
        Phase,
        Heartbeat,
        Step,
        Evaluated,
        Saved,
        SaveFailed,
        RolledBack,
        Notice,
        Finished,
        Stopped,
        Failed,
    )
}


def to_dict(message: Message) -> dict[str, Any]:
    """The message as plain JSON types, tagged by ``type``."""
    return {"type": type(message).__name__, **dataclasses.asdict(message)}


def from_dict(plain: Any) -> Any:
    """The message that ``to_dict`` tagged.

    Raises:
        ProtocolError: the type is unknown or a field is missing or unknown.
    """
    if not isinstance(plain, dict) or not isinstance(plain.get("type"), str):
        raise ProtocolError(f"no tagged message: {str(plain)[:200]}")
    fields = dict(plain)
    cls = _TYPES.get(fields.pop("type"))
    if cls is None:
        raise ProtocolError(f"unknown message {plain['type']!r}")
    try:
        return cls(**fields)
    except TypeError as error:
        raise ProtocolError(f"{plain['type']}: {error}") from None


def encode(message: Message) -> bytes:
    """One line, newline included. Non-finite numbers travel as JSON's NaN and Infinity."""
    return json.dumps(to_dict(message), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes | str) -> Any:
    """Read one line; raises ProtocolError on anything that is no message of ours."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
    return from_dict(plain)
