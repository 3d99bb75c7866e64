"""How a trainer's life ended, in the words of the journal. Pure."""

from __future__ import annotations

from datetime import datetime

from orchestrator.decide import Told
from orchestrator.domain import AttemptEnd, Effect, Hold, Reason
from orchestrator.progress import Life
from trainer.contract import messages as m


def how_it_ended(life: Life, cause: str, *, engine_lost: bool = False) -> tuple[AttemptEnd, str]:
    """Name the end from what the trainer said last, what we did to it, and how it exited."""
    match life.farewell:
        case m.Finished():
            return AttemptEnd.FINISHED, "reached its horizon"
        case m.Stopped():
            return AttemptEnd.STOPPED, f"stopped as told at step {life.farewell.step}"
        case m.Failed():
            return AttemptEnd.CRASHED, f"{life.farewell.kind}: {life.farewell.message}"
    if life.killed:
        end = AttemptEnd.STALLED if life.killed_for_stall else AttemptEnd.STOPPED
        return end, life.killed
    if engine_lost:
        end = AttemptEnd.STOPPED if life.told is Told.STOP else AttemptEnd.ENGINE_LOST
        return end, cause
    return AttemptEnd.CRASHED, cause


def hopeless(run: str, farewell: m.Failed, now: datetime) -> Hold:
    """The hold after a failure that trying again cannot cure."""
    return Hold(
        reason=Reason.CRASH_LOOP,
        effect=Effect.RELEASE,
        source="trainer",
        since=now,
        run=run,
        detail=f"{farewell.kind}: {farewell.message}",
    )
