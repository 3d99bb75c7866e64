"""facts -> holds -> setpoint, and setpoint + what runs -> actions. Pure: no clock, no store.

Both halves of the supervisor's mind. ``decide`` says how things should be, ``reconcile`` what to
do about the difference. The supervisor calls both at every tick, so a lost action is simply
asked for again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain import Attempt, Effect, Hold, Reason, Setpoint


@dataclass(frozen=True)
class Policy:
    """The numbers of the configuration that decisions hang on; all in seconds but one."""

    stall_after_seconds: float = 600.0
    start_timeout_seconds: float = 900.0
    stop_timeout_seconds: float = 120.0
    backoff_first_seconds: float = 2.0
    backoff_max_seconds: float = 300.0
    crash_loop_after: int = 5


@dataclass(frozen=True)
class Facts:
    """One tick's view of what bears on the setpoint."""

    now: datetime
    #: the run that owns the GPU, or None
    run: str | None
    #: holds from the store that are neither ended nor expired, and those of the senses
    holds: tuple[Hold, ...]
    draining: bool
    #: failures in a row that made no progress, see ``fruitless_failures``
    failures: int
    #: how the last of them ended, in words
    last_failure: str = ""


@dataclass(frozen=True)
class Decision:
    """How things should be, and the holds that must be written down first."""

    setpoint: Setpoint
    holds: tuple[Hold, ...]
    new_holds: tuple[Hold, ...] = ()


def decide(facts: Facts, policy: Policy) -> Decision:
    """Add the derived holds to the stored ones and sum them all up."""
    holds = [hold for hold in facts.holds if hold.run in (None, facts.run)]
    new: list[Hold] = []
    looping = any(hold.reason is Reason.CRASH_LOOP for hold in holds)
    if facts.run and not looping and facts.failures >= policy.crash_loop_after:
        new.append(
            Hold(
                reason=Reason.CRASH_LOOP,
                effect=Effect.RELEASE,
                source="supervisor",
                since=facts.now,
                run=facts.run,
                detail=f"{facts.failures} attempts in a row failed without progress, "
                f"the last: {facts.last_failure}",
            )
        )
    if facts.draining:
        holds.append(
            Hold(
                reason=Reason.DRAIN,
                effect=Effect.RELEASE,
                source="supervisor",
                since=facts.now,
                detail="the daemon is shutting down",
            )
        )
    everything = (*holds, *new)
    return Decision(add_up(everything), everything, tuple(new))


def add_up(holds: Iterable[Hold]) -> Setpoint:
    """The deepest effect wins, the lowest cap wins; ``until`` is when the last of them ends."""
    held = list(holds)
    if not held:
        return Setpoint(Effect.RUN)
    effect = max((hold.effect for hold in held), key=lambda item: item.depth)
    caps = [hold.cap_watts for hold in held if hold.cap_watts is not None]
    ends = [hold.until for hold in held if hold.effect is not Effect.CAP]
    known = [end for end in ends if end is not None]
    return Setpoint(
        effect=effect,
        cap_watts=min(caps) if caps else None,
        reasons=tuple(dict.fromkeys(hold.reason for hold in held)),
        until=max(known) if known and len(known) == len(ends) else None,
    )


def fruitless_failures(attempts: Iterable[Attempt], forgiven: int = 0) -> list[Attempt]:
    """The unbroken row of failures at the end of ``attempts`` that made no progress.

    An attempt that got further than it started breaks the row, so does one that ended well.
    Attempts up to the number ``forgiven`` (the last one before a person said resume) do not count,
    and the daemon's own deaths and reboots neither count nor break the row. By numbers and not by
    times: a clock may be set.
    """
    row: list[Attempt] = []
    for attempt in reversed(list(attempts)):
        if attempt.end is None or attempt.number <= forgiven:
            continue
        if attempt.end.counts_as_failure and not made_progress(attempt):
            row.append(attempt)
        elif attempt.end.counts_as_failure or attempt.end.value in ("finished", "stopped"):
            break
    return row[::-1]


def made_progress(attempt: Attempt) -> bool:
    """Whether the attempt finished at least one step."""
    if attempt.first_step is None or attempt.last_step is None:
        return False
    return attempt.last_step > attempt.first_step


def backoff_seconds(failures: int, policy: Policy) -> float:
    """How long to wait before the next attempt: doubles with each fruitless failure.

    The first restart after an attempt that had made progress does not wait at all.
    """
    if failures <= 0:
        return 0.0
    return min(
        policy.backoff_max_seconds, policy.backoff_first_seconds * 2.0 ** min(failures - 1, 30)
    )


# --- reconcile ------------------------------------------------------------------------------


class EngineState(enum.StrEnum):
    """Where the engine process stands."""

    OFF = "off"
    STARTING = "starting"
    READY = "ready"


class Told(enum.StrEnum):
    """The last thing that the trainer was told."""

    GO = "go"
    PAUSE = "pause"
    FINISH = "finish"
    STOP = "stop"


@dataclass(frozen=True)
class Trainer:
    """The trainer that runs now, as far as it bears on the next action."""

    run: str
    #: has said Hello: commands reach it
    greeted: bool
    #: has loaded everything and computes
    ready: bool
    told: Told
    #: seconds since it was started, since its last sign of life, since it was told to stop
    age_seconds: float
    silent_seconds: float
    told_seconds: float


@dataclass(frozen=True)
class Observed:
    """What runs."""

    run: str | None
    engine: EngineState
    trainer: Trainer | None
    #: seconds until the back-off allows another attempt; 0 or less means now
    backoff_left_seconds: float = 0.0


class Act(enum.StrEnum):
    """One thing to do to the engine or its trainer."""

    OPEN_ENGINE = "open_engine"
    CLOSE_ENGINE = "close_engine"
    START_TRAINER = "start_trainer"
    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    STOP = "stop"
    KILL = "kill"


@dataclass(frozen=True)
class Action:
    """What to do and why, in words for the journal."""

    act: Act
    why: str = ""


def reconcile(setpoint: Setpoint, observed: Observed, policy: Policy) -> Action | None:
    """The one next action that brings what runs closer to the setpoint, or None."""
    if observed.trainer is not None:
        return _with_trainer(setpoint, observed, observed.trainer, policy)
    may_run = setpoint.effect in (Effect.RUN, Effect.CAP)
    if observed.run is None or setpoint.effect is Effect.RELEASE:
        return Action(Act.CLOSE_ENGINE) if observed.engine is not EngineState.OFF else None
    if not may_run or observed.backoff_left_seconds > 0:
        return None
    if observed.engine is EngineState.OFF:
        return Action(Act.OPEN_ENGINE)
    if observed.engine is EngineState.READY:
        return Action(Act.START_TRAINER)
    return None


def _with_trainer(
    setpoint: Setpoint, observed: Observed, trainer: Trainer, policy: Policy
) -> Action | None:
    sick = _sick(trainer, policy)
    if sick:
        return Action(Act.KILL, sick)
    if trainer.run != observed.run or setpoint.effect is Effect.RELEASE:
        wanted = Told.STOP
    else:
        wanted = {
            Effect.RUN: Told.GO,
            Effect.CAP: Told.GO,
            Effect.FINISH: Told.FINISH,
            Effect.PAUSE: Told.PAUSE,
        }[setpoint.effect]
    if wanted is trainer.told or trainer.told is Told.STOP:
        return None
    if not trainer.greeted:
        # Nobody listens yet. Killing one that has computed nothing is the quickest way to stop.
        return Action(Act.KILL, "not needed any more") if wanted is Told.STOP else None
    return Action(
        {
            Told.GO: Act.RESUME,
            Told.PAUSE: Act.PAUSE,
            Told.FINISH: Act.FINISH,
            Told.STOP: Act.STOP,
        }[wanted]
    )


def _sick(trainer: Trainer, policy: Policy) -> str:
    if trainer.told is Told.STOP and trainer.told_seconds > policy.stop_timeout_seconds:
        return f"did not leave within {policy.stop_timeout_seconds:.0f} s of being told to stop"
    limit = policy.stall_after_seconds if trainer.ready else policy.start_timeout_seconds
    if trainer.silent_seconds > limit:
        return f"no sign of life for {trainer.silent_seconds:.0f} s"
    return ""
