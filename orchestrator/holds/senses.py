"""Senses: what the house asks for right now, as holds. Never stored, looked at anew each tick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain import Hold


@dataclass(frozen=True)
class Moment:
    """When a sense looks, and at whose run."""

    now: datetime
    #: seconds that never go back: what dwell and debounce are measured by
    monotonic_seconds: float
    #: the run that owns the GPU, or None
    run: str | None
    #: computing that a power cut would lose now; None while no trainer computes
    unsaved_seconds: float | None = None
    #: what it may cost at most, as the run's spec says
    most_lost_seconds: float = 900.0


class Sense(Protocol):
    """One look at the house. It never raises and never waits: the tick calls it."""

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """The holds that the house asks for now; none means: nothing against full power."""


class FakeSense:
    """Asks for what it is told."""

    def __init__(self, *holds: Hold) -> None:
        self.holds = holds

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        return self.holds


@dataclass(frozen=True)
class News:
    """What changed between two looks."""

    begun: tuple[Hold, ...]
    ended: tuple[Hold, ...]


def news(before: Iterable[Hold], now: Sequence[Hold]) -> News:
    """Holds that began or ended; a hold is the same while reason, source and effect are."""
    known, held = {_key(hold): hold for hold in before}, {_key(hold): hold for hold in now}
    return News(
        begun=tuple(hold for key, hold in held.items() if key not in known),
        ended=tuple(hold for key, hold in known.items() if key not in held),
    )


def _key(hold: Hold) -> tuple[str, str, str]:
    return hold.reason, hold.source, hold.effect
