"""How long nothing ran, as far as anybody can know. Pure.

Within one boot the kernel counts seconds that nobody can set, also while the machine sleeps: the
gap between two heartbeats is exact whatever the wall clock did. Over a reboot only the wall clock
is left; it may have been wrong on either side (an empty battery on the board), and what it says is
doubted where it contradicts itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.domain import Run, Sample
from orchestrator.durations import format_seconds
from trainer.contract.spec import TrainSpec

#: wall and uptime may differ by so much for ordinary reasons
_SLACK_SECONDS = 10.0
#: what was done is written down at least so often; what came after that, nobody can count
UNWRITTEN_SECONDS = 10.0
#: no heartbeat is older than homerun
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Beat:
    """A sign of life of a daemon."""

    time: datetime
    boot_id: str
    #: of the machine, its sleep included; None: not known
    uptime_seconds: float | None


@dataclass(frozen=True)
class Outage:
    """Nothing ran since ``since``."""

    since: datetime
    #: None: unknown
    seconds: float | None
    rebooted: bool
    #: why the length, or the time, is not certain; empty when it is
    doubt: str = ""

    @property
    def length(self) -> str:
        """For a person: "2h5m", "about 2h5m", "nobody knows how long"."""
        if self.seconds is None:
            return "nobody knows how long"
        about = "about " if self.doubt and self.rebooted else ""
        return about + format_seconds(round(self.seconds))


def measure(last: Beat, now: Beat) -> Outage:
    """The gap between the last daemon's last sign of life and this one's first."""
    rebooted = bool(now.boot_id) and now.boot_id != last.boot_id
    wall = (now.time - last.time).total_seconds()
    if not rebooted and last.uptime_seconds is not None and now.uptime_seconds is not None:
        passed = max(0.0, now.uptime_seconds - last.uptime_seconds)
        moved = wall - passed
        doubt = f"the clock was set by {moved:+.0f} s meanwhile" if _much(moved) else ""
        return Outage(last.time, passed, rebooted, doubt)
    if now.time < _EARLIEST or last.time < _EARLIEST:
        return Outage(last.time, None, rebooted, "a clock that was never set says when")
    if wall < 0:
        doubt = f"the clock stands {format_seconds(round(-wall))} before the last sign of life"
        return Outage(last.time, None, rebooted, doubt)
    if rebooted and now.uptime_seconds is not None and wall < now.uptime_seconds - _SLACK_SECONDS:
        doubt = "the machine is up for longer than the clock says that nothing ran"
        return Outage(last.time, now.uptime_seconds, rebooted, doubt)
    return Outage(last.time, wall, rebooted)


def seconds_per_step(run: Run | None, samples: Sequence[Sample]) -> float | None:
    """From the speed at the end of the curve; None while there is none."""
    speeds = [sample.tokens_per_second for sample in samples if sample.tokens_per_second]
    if run is None or not speeds:
        return None
    tokens = run.spec.get("train", {}).get("batch_tokens", TrainSpec().batch_tokens)
    return float(tokens) / statistics.median(speeds)


def told(outage: Outage, lost_steps: int, lost_seconds: float | None) -> str:
    """Since when, how long, what was lost, and what that did to the finish; one line."""
    why = "the machine was down" if outage.rebooted else "the daemon was down"
    cost = f"at most {UNWRITTEN_SECONDS:.0f} s have to be computed again"
    if lost_steps:
        again = "" if lost_seconds is None else f" ({format_seconds(round(lost_seconds, 1))})"
        steps = "1 step" if lost_steps == 1 else f"{lost_steps} steps"
        cost = (
            f"{steps}{again} have to be computed again, and at most {UNWRITTEN_SECONDS:.0f} s that "
            "were not written down any more"
        )
    if outage.seconds is None:
        later = "how much later it finishes is unknown"
    else:
        about = "about " if outage.doubt else ""
        delay = format_seconds(round(outage.seconds + (lost_seconds or 0.0)))
        later = f"it finishes {about}{delay} later"
    doubt = f" ({outage.doubt})" if outage.doubt else ""
    return (
        f"Training goes on after an outage: {why} for {outage.length}, since "
        f"{outage.since:%F %T} UTC{doubt}; {cost}, and {later}."
    )


def _much(seconds: float) -> bool:
    return abs(seconds) > _SLACK_SECONDS
