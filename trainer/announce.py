"""What the trainer says of itself while it works: phases and heartbeats, throttled."""

from __future__ import annotations

from trainer.checkpoint.catalog import Verdict
from trainer.clock import Clock
from trainer.contract.messages import Event, Heartbeat, Notice, Phase
from trainer.link import Link

#: at most so often a second does progress within one phase or one step go up the line
_EVERY_SECONDS = 0.2


class Announcer:
    """Passes events up the line and remembers what the trainer does now."""

    def __init__(self, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._last = float("-inf")
        self._now = Phase("start")

    def say(self, event: Event) -> None:
        """Pass it up at once."""
        self._link.send(event)

    def notice(self, kind: str, message: str, severity: str = "warning") -> None:
        """Something that a person should read later."""
        self.say(Notice(kind, message, severity))

    def damaged(self, verdict: Verdict) -> None:
        """A checkpoint that is not whole was met."""
        problems = "; ".join(verdict.problems)
        self.notice(
            "checkpoint_damaged", f"checkpoint {verdict.name} is set aside: {problems}", "error"
        )

    def phase(self, name: str, detail: str = "", fraction: float = -1.0) -> None:
        """A new phase goes up at once, progress within one when it is time."""
        changed = name != self._now.phase
        self._now = Phase(name, detail, fraction)
        if changed or self._is_time():
            self.repeat_phase()

    @property
    def current(self) -> Phase:
        """What the trainer does now."""
        return self._now

    def repeat_phase(self) -> None:
        """Say again what the trainer does now."""
        self._last = self._clock.monotonic()
        self.say(self._now)

    def beat(self, step: int, micro: int, micro_batches: int) -> None:
        """Progress within a step, when it is time."""
        if self._is_time():
            self._last = self._clock.monotonic()
            self.say(Heartbeat(step, micro, micro_batches))

    def _is_time(self) -> bool:
        return self._clock.monotonic() - self._last >= _EVERY_SECONDS
