"""The fake backend's guests: who announces himself, and leaves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.errors import Invalid
from orchestrator.holds.guests import LONGEST
from orchestrator.home.clock import Clock


class FakeGuests(ABC):
    """A part of ``FakeBackend``."""

    _clock: Clock
    _holds: list[Hold]

    @abstractmethod
    def hold(self, hold: Hold) -> Hold:
        """Add a hold; the backend's own."""

    def arrive(self, *, name: str, until: datetime | None, detail: str) -> Hold:
        now = self._clock.now()
        if until is not None and until <= now:
            raise Invalid(f"{until:%F %T} UTC is in the past", "give a time still to come")
        self.leave(name=name)
        detail = detail or f"{name} wants the card"
        end = until or now + LONGEST
        return self.hold(Hold(Reason.GPU_BUSY, Effect.RELEASE, name, now, end, detail))

    def leave(self, *, name: str) -> bool:
        left = [h for h in self._holds if h.reason is not Reason.GPU_BUSY or h.source != name]
        there, self._holds = len(left) < len(self._holds), left
        return there
