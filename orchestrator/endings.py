"""How a trainer's life ended, in the words of the journal. Pure."""

from __future__ import annotations

from datetime import datetime

from orchestrator.decide import Told
from orchestrator.domain import AttemptEnd, Effect, Hold, Reason
from orchestrator.progress import Life
from trainer.contract import messages as m

_OUT_OF_MEMORY = "killed by the kernel: this machine ran out of memory"


def how_it_ended(
    life: Life,
    cause: str,
    *,
    engine_lost: bool = False,
    oom_kills: int | None = None,
    xid: str = "",
) -> tuple[AttemptEnd, str]:
    """Name the end from what the trainer said last, what we did to it, and how it exited.

    Args:
        oom_kills: how many the kernel has killed so far for want of memory.
        xid: what the card's driver reported shortly before, in words; empty: nothing.
    """
    end, cause = _ending(life, cause, engine_lost, oom_kills)
    return end, f"{cause} ({xid})" if xid and end.counts_as_failure else cause


def _ending(
    life: Life, cause: str, engine_lost: bool, oom_kills: int | None
) -> tuple[AttemptEnd, str]:
    match life.farewell:
        case m.Finished():
            return AttemptEnd.FINISHED, "reached its horizon"
        case m.Stopped():
            return AttemptEnd.STOPPED, _stopped(life.farewell, life.reached)
        case m.Failed():
            return AttemptEnd.CRASHED, f"{life.farewell.kind}: {life.farewell.message}"
    if life.killed:
        end = AttemptEnd.STALLED if life.killed_for_stall else AttemptEnd.STOPPED
        return end, life.killed
    if engine_lost:
        end = AttemptEnd.STOPPED if life.told is Told.STOP else AttemptEnd.ENGINE_LOST
        return end, _with_oom(life, cause, oom_kills)
    return AttemptEnd.CRASHED, _with_oom(life, cause, oom_kills)


def _stopped(farewell: m.Stopped, reached: int | None) -> str:
    step, in_memory = farewell.step, farewell.memory_step
    computed = max(step, in_memory, reached or 0)
    if computed == step:
        return f"stopped as told at step {step}"
    text = (
        f"stopped as told at step {computed}, but its last save failed: step {step} is on the disk"
    )
    if in_memory > step:
        text += f", step {in_memory} only in memory; a reboot would lose {_steps(in_memory - step)}"
    if lost := computed - max(step, in_memory):
        text += f", and {_steps(lost)} {'is' if lost == 1 else 'are'} lost"
    return text


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"


def _with_oom(life: Life, cause: str, oom_kills: int | None) -> str:
    """A SIGKILL that was not ours, in a life in which the kernel killed somebody for memory."""
    before = life.oom_kills
    if "SIGKILL" not in cause or oom_kills is None or before is None or oom_kills <= before:
        return cause
    return f"{_OUT_OF_MEMORY} ({cause})"


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
