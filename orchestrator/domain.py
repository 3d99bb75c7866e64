"""The words of homerun as frozen values: no I/O, no clock, nothing imported but the library."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

SCHEMA = 1


class Reason(enum.StrEnum):
    """Why a run does not go at full power now. Every one is always present in the metrics."""

    USER = "user"
    TARIFF = "tariff"
    QUIET_HOURS = "quiet_hours"
    THERMAL = "thermal"
    GPU_BUSY = "gpu_busy"
    UPS = "ups"
    DISK = "disk"
    DRAIN = "drain"
    CRASH_LOOP = "crash_loop"
    NETWORK = "network"
    GPU_LOST = "gpu_lost"
    SLEEP = "sleep"


class Effect(enum.StrEnum):
    """What a hold does, from nothing to the deepest."""

    #: full power
    RUN = "run"
    #: go on under a power limit
    CAP = "cap"
    #: go on until the next checkpoint, then release
    FINISH = "finish"
    #: stop within one micro-batch, keep the process and its memory
    PAUSE = "pause"
    #: checkpoint, end the process, give the memory back
    RELEASE = "release"

    @property
    def depth(self) -> int:
        """0 is the shallowest."""
        return list(Effect).index(self)


class RunState(enum.StrEnum):
    """Where a run stands in the queue."""

    #: waits for its turn
    QUEUED = "queued"
    #: the one that owns the GPU, held or not
    ACTIVE = "active"
    #: reached its horizon
    FINISHED = "finished"
    #: taken out of the queue by a person; its checkpoints stay
    CANCELLED = "cancelled"


class AttemptEnd(enum.StrEnum):
    """How one life of the trainer ended."""

    #: reached the horizon
    FINISHED = "finished"
    #: left as told, with everything saved
    STOPPED = "stopped"
    #: died or gave up by itself
    CRASHED = "crashed"
    #: made no progress and was killed
    STALLED = "stalled"
    #: the engine process or a part of Ray died under it
    ENGINE_LOST = "engine_lost"
    #: the daemon died above it
    DAEMON_LOST = "daemon_lost"
    #: the machine went down: another boot since
    REBOOT = "reboot"

    @property
    def counts_as_failure(self) -> bool:
        """Whether the crash-loop breaker counts it."""
        return self in (AttemptEnd.CRASHED, AttemptEnd.STALLED, AttemptEnd.ENGINE_LOST)


@dataclass(frozen=True)
class Hold:
    """One reason not to go at full power; ``run`` None holds everything on the machine."""

    reason: Reason
    effect: Effect
    source: str
    since: datetime
    until: datetime | None = None
    detail: str = ""
    run: str | None = None
    cap_watts: float | None = None
    #: its row in the store; 0 for holds that are derived anew at each tick
    id: int = 0


@dataclass(frozen=True)
class Setpoint:
    """What all holds add up to: the deepest effect wins, the lowest cap wins."""

    effect: Effect
    cap_watts: float | None = None
    reasons: tuple[Reason, ...] = ()
    #: when the last of the holds that matter ends; None when nobody knows or nothing holds
    until: datetime | None = None


@dataclass(frozen=True)
class Run:
    """A run as the store knows it."""

    name: str
    state: RunState
    priority: int
    created: datetime
    spec: dict[str, Any]
    spec_digest: str
    finished: datetime | None = None
    #: from Ready and Finished; None until known
    steps: int | None = None
    parameters: int | None = None
    bits_per_byte_before: float | None = None
    bits_per_byte: float | None = None
    sample: str | None = None
    model_path: str | None = None


@dataclass(frozen=True)
class Attempt:
    """One life of the trainer on a run."""

    run: str
    number: int
    started: datetime
    first_step: int | None = None
    last_step: int | None = None
    ended: datetime | None = None
    end: AttemptEnd | None = None
    cause: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A row of the index; the directory on disk is the truth."""

    run: str
    name: str
    step: int
    created: datetime
    size_bytes: int
    attempt: int
    reason: str
    #: from the first byte to the commit, and what training waited for; None: nobody has told
    write_seconds: float | None = None
    stall_seconds: float | None = None


@dataclass(frozen=True)
class ShelvedCheckpoint(Checkpoint):
    """A checkpoint with what the disk and the mirror say of it."""

    pinned: bool = False
    #: when all its bytes were last read and were right; None: not since it was written
    verified: datetime | None = None
    #: whether the mirror has it too; None: there is none, or this daemon has not seen it yet
    mirrored: bool | None = None


@dataclass(frozen=True)
class JournalEntry:
    """One thing that happened, and why. ``severity``: info, warning, error."""

    id: int
    time: datetime
    kind: str
    message: str
    severity: str = "info"
    run: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Register:
    """One reading of the store: whose turn it is, who waits, what holds, what happened last."""

    run: Run | None
    queue: tuple[Run, ...]
    holds: tuple[Hold, ...]
    #: the run's attempts in a row that failed without progress
    failures: tuple[Attempt, ...]
    journal: tuple[JournalEntry, ...]


@dataclass(frozen=True)
class Sample:
    """One point of the learning curve."""

    step: int
    time: datetime
    loss: float
    tokens_per_second: float
    bits_per_byte: float | None = None
    watts: float | None = None


@dataclass(frozen=True)
class Power:
    """Power drawn now. ``source``: nvml, rapl, or estimated (by a model, no meter)."""

    watts: float | None
    source: str
    measured: bool


@dataclass(frozen=True)
class DaemonView:
    """The daemon about itself."""

    pid: int
    version: str
    started: datetime
    state_dir: str
    address: str
    engine: str
    #: off, starting, ready
    engine_state: str


@dataclass(frozen=True)
class CheckpointView:
    """The newest committed checkpoint."""

    name: str
    step: int
    time: datetime
    size_bytes: int
    #: as in Checkpoint
    write_seconds: float | None = None
    stall_seconds: float | None = None


@dataclass(frozen=True)
class MirrorView:
    """A run's copies in the mirror, as far as this daemon has seen them."""

    #: the newest one, and when it was saved; None: there is none, or nobody has looked yet
    step: int | None = None
    time: datetime | None = None
    #: why the last copy failed; empty when it did not
    failure: str = ""


@dataclass(frozen=True)
class RunView:
    """The active run as people see it. None means unknown, never zero."""

    name: str
    state: RunState
    #: what the trainer does: idle, starting, data, load, train, eval, checkpoint, paused, done
    phase: str
    phase_detail: str
    phase_fraction: float | None
    attempt: int | None
    trainer_pid: int | None
    parameters: int | None
    step: int
    steps: int | None
    micro: int
    micro_batches: int
    tokens: int
    epoch: float
    loss: float | None
    bits_per_byte: float | None
    bits_per_byte_before: float | None
    tokens_per_second: float | None
    mfu: float | None
    peak_source: str
    step_seconds: float | None
    gradient_norm: float | None
    lr_multiplier: float | None
    progress: float
    eta: datetime | None
    power: Power
    energy_joules: float
    energy_measured: bool
    active_seconds: float
    lost_steps: int
    restarts: int
    checkpoint: CheckpointView | None
    next_start: datetime | None
    #: at most 64 points, oldest first
    loss_history: tuple[float, ...] = ()
    #: computing time that a power cut now would lose; None while no trainer computes
    unsaved_seconds: float | None = None
    #: what the run's spec wants between two saves
    checkpoint_every_seconds: float | None = None
    #: how far apart saves are, why, and what a power cut can cost; empty until the first save
    saves: str = ""
    #: the step that a trainer which has left could only keep in memory, where a reboot loses it;
    #: None: no more than is on disk
    memory_step: int | None = None
    #: None: no mirror is configured
    mirror: MirrorView | None = None


@dataclass(frozen=True)
class PlanView:
    """The active run's plan in short. None means unknown, or that there is none."""

    #: off, deadline, slack, budget, value
    goal: str
    #: cheapest, flat_out, catching_up, fallback, budget, value; empty without a plan
    mode: str
    made: datetime | None
    #: in words: why this plan, or why there is none
    remark: str
    deadline: datetime | None
    #: when the plan has the work done
    finish: datetime | None
    #: when the plan wants something else than now
    next_change: datetime | None
    currency: str
    #: from when the plan was made until its finish
    cost: float | None
    energy_kwh: float | None
    gap_ratio: float | None
    #: whether the price of now is a guess
    forecast: bool


@dataclass(frozen=True)
class Bill:
    """What a run has cost so far, by the ledger. None where a price is missing."""

    run: str
    currency: str
    cost: Decimal | None
    energy_kwh: Decimal
    #: against the same work at full power without a break
    avoided_cost: Decimal | None
    cost_per_million_tokens: Decimal | None


@dataclass(frozen=True)
class QueueItem:
    """A run that waits."""

    name: str
    priority: int


@dataclass(frozen=True)
class Snapshot:
    """Everything that a reader may know, taken in one piece after each tick."""

    time: datetime
    headline: str
    daemon: DaemonView
    setpoint: Setpoint
    holds: tuple[Hold, ...]
    run: RunView | None
    queue: tuple[QueueItem, ...]
    #: run name to counter name to total; restored from the store, they never fall
    counters: dict[str, dict[str, float]]
    journal: tuple[JournalEntry, ...]
    #: None: no run, or nobody plans
    plan: PlanView | None = None
    #: of all runs that the ledger knows
    bills: tuple[Bill, ...] = ()
    schema: int = SCHEMA


def to_json(value: Any) -> Any:
    """Any of these values as plain JSON types; times become UTC ISO 8601 with a Z."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value
