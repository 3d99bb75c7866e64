"""Events in words: one line each, for a log or a terminal."""

from __future__ import annotations

from trainer.contract.messages import (
    Evaluated,
    Event,
    Failed,
    Finished,
    Heartbeat,
    Hello,
    Notice,
    Phase,
    Ready,
    RolledBack,
    Saved,
    SaveFailed,
    Step,
    Stopped,
)

_MB = 1e6


def line(event: Event) -> str:
    """One line; empty for what is not worth one."""
    match event:
        case Hello():
            return f"attempt {event.attempt} of run {event.run}, process {event.pid}"
        case Ready():
            return _ready(event)
        case Step():
            return step(event)
        case Evaluated():
            return (
                f"validation after step {event.step}: {event.bits_per_byte:.4f} bits per byte "
                f"(loss {event.loss:.4f}) in {event.seconds:.1f} s"
            )
        case Saved():
            return (
                f"checkpoint {event.name} ({event.reason}): {event.size_bytes / _MB:,.1f} MB "
                f"in {event.seconds:.2f} s"
            )
        case SaveFailed():
            return f"no checkpoint of step {event.step} ({event.kind}): {event.message}"
        case RolledBack():
            return rolled_back(event)
        case Notice():
            return f"{event.severity}: {event.message}"
        case Finished():
            return f"finished at step {event.step}: {event.bits_per_byte:.4f} bits per byte"
        case Stopped():
            memory = f", in memory at step {event.memory_step}" if event.memory_step else ""
            return f"stopped; the run stands at step {event.step} on the disk{memory}"
        case Failed():
            return f"failed ({event.kind}): {event.message}"
        case Phase() | Heartbeat():
            return ""


def step(event: Step) -> str:
    """The progress line."""
    return (
        f"step {event.step:,}/{event.steps:,}  loss {event.loss:.4f}  "
        f"{event.tokens_per_second:,.0f} tokens/s  MFU {100 * event.mfu:.1f} %  "
        f"epoch {event.epoch:.2f}  gradient {event.gradient_norm:.2f}  "
        f"lr x{event.lr_multiplier:.2f}"
    )


def rolled_back(event: RolledBack) -> str:
    """Where training went back to, why, and what it leaves out."""
    left_out = ", ".join(
        f"{first}" if end == first + 1 else f"{first} to {end - 1}" for first, end in event.skipped
    )
    again = f" (time {event.times} at this place)" if event.times > 1 else ""
    return (
        f"training went back from step {event.from_step} to step {event.to_step}{again} and leaves "
        f"out batches {left_out}: {event.why}"
    )


def _ready(event: Ready) -> str:
    at = event.environment
    start = f"goes on after {event.checkpoint}" if event.checkpoint else "starts"
    return (
        f"{event.parameters:,} parameters, {event.steps:,} steps; {start} at step {event.step}, "
        f"on {at.get('device_name') or at.get('device')} with {at.get('threads')} CPU threads, "
        f"PyTorch {at.get('torch')}"
    )
