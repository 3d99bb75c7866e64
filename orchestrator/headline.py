"""The one sentence that says how the run is, why, and until when. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.domain import Effect, Hold, Reason, RunView, Setpoint

_REASONS = {
    Reason.USER: "you",
    Reason.TARIFF: "the tariff",
    Reason.QUIET_HOURS: "quiet hours",
    Reason.THERMAL: "heat",
    Reason.GPU_BUSY: "another program on the GPU",
    Reason.GPU_LOST: "a lost GPU",
    Reason.UPS: "the UPS",
    Reason.DISK: "the disk",
    Reason.DRAIN: "the shutdown",
    Reason.CRASH_LOOP: "repeated crashes",
    Reason.NETWORK: "the network",
    Reason.SLEEP: "the machine's sleep",
}
_PHASES = {
    "idle": "Waiting to start",
    "starting": "Starting",
    "start": "Starting",
    "data": "Preparing the data of",
    "load": "Loading",
    "train": "Training",
    "eval": "Evaluating",
    "checkpoint": "Saving",
    "paused": "Paused:",
    "done": "Finishing",
}


def headline(
    now: datetime, run: RunView | None, setpoint: Setpoint, holds: tuple[Hold, ...], queued: int
) -> str:
    """Written for the eyes of a person: local times, no jargon."""
    if run is None:
        if queued:
            return f"{queued} runs wait in the queue."
        return "Nothing to train: the queue is empty."
    where = f"{run.name}, {_steps(run)}"
    if setpoint.effect in (Effect.RUN, Effect.CAP):
        if run.next_start is not None and run.next_start > now:
            return f"Starting {run.name} again at {_clock(run.next_start, now)} after a failure."
        finish = f", finishes {_about(run.eta, now)}" if run.eta else ""
        return f"{_PHASES.get(run.phase, run.phase)} {where}{finish}."
    reason = _REASONS[setpoint.reasons[0]] if setpoint.reasons else "a hold"
    detail = _detail(holds, setpoint.reasons[:1])
    why = f" by {reason}" + (f" ({detail})" if detail else "")
    until = f" until {_clock(setpoint.until, now)}" if setpoint.until else ""
    if setpoint.effect is Effect.FINISH and run.trainer_pid is not None:
        return f"Stopping at the next checkpoint{why}: {where}."
    verb = "Paused" if setpoint.effect is Effect.PAUSE else "Stopped"
    return f"{verb}{until}{why}: {where}.{_only_in_memory(run, setpoint, holds)}"


def only_in_memory(step: int, memory_step: int) -> str:
    """What a reboot would cost, for a person."""
    lost = memory_step - step
    steps = "the step after it is" if lost == 1 else f"the {lost:,} steps after it are"
    return (
        f"Step {step:,} is on the disk, {steps} only in memory: a reboot would lose {_them(lost)}"
    )


def _only_in_memory(run: RunView, setpoint: Setpoint, holds: tuple[Hold, ...]) -> str:
    if run.memory_step is None:
        return ""
    text = f" {only_in_memory(run.checkpoint.step if run.checkpoint else 0, run.memory_step)}."
    if Reason.DISK not in setpoint.reasons[1:]:
        return text
    why = _detail(holds, (Reason.DISK,))
    return f"{text} The disk holds it, too{f' ({why})' if why else ''}."


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def _detail(holds: tuple[Hold, ...], reasons: tuple[Reason, ...]) -> str:
    return next((hold.detail for hold in holds if hold.detail and hold.reason in reasons), "")


def _steps(run: RunView) -> str:
    if run.steps is None:
        return f"step {run.step:,}"
    return f"step {run.step:,} of {run.steps:,} ({run.progress:.0%})"


def _clock(when: datetime, now: datetime) -> str:
    local = when.astimezone()
    if local.date() == now.astimezone().date():
        return f"{local:%H:%M}"
    return f"{local:%a %d %b %H:%M}"


def _about(when: datetime, now: datetime) -> str:
    left = when - now
    if left < timedelta(minutes=1):
        return "in less than a minute"
    if left < timedelta(minutes=90):
        return f"in about {left / timedelta(minutes=1):.0f} min"
    if left < timedelta(hours=36):
        return f"about {_clock(when, now)}"
    return f"about {when.astimezone():%d %B}"
