"""Duty cycling: a cap for heat or noise on a card whose limit cannot be set. Pure.

The mean power of computing for a share of the time lies on the line between idle and full power,
so that this never saves money against simply pausing for as long: only heat and noise ask for
it, and never the tariff. Pauses begin at the next micro-batch, so the period is long against one,
and short against the minutes in which a card and its room warm up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.domain import Effect, Hold, Reason, Setpoint

#: one run and one pause
PERIOD_SECONDS = 60.0
#: less of the period than this is no computing any more
LEAST_SHARE = 0.1
#: what an idle card draws of what a busy one does, until it was seen idle
_IDLE_RATIO = 0.1
#: weight of a new reading below the highest: power comes and goes within a step
_FORGETTING = 0.01

#: whose caps are obeyed this way
_REASONS = (Reason.THERMAL, Reason.QUIET_HOURS)


@dataclass(frozen=True)
class Draw:
    """What the card has been seen to draw; None: not yet."""

    busy_watts: float | None = None
    idle_watts: float | None = None

    def fold(self, watts: float | None, *, computing: bool) -> Draw:
        """Take a reading in. The busy one is near the highest, so that a cap is kept."""
        if watts is None:
            return self
        if not computing:
            return dataclasses.replace(self, idle_watts=watts)
        busy = watts if self.busy_watts is None else self.busy_watts
        busy = max(watts, busy + (watts - busy) * _FORGETTING)
        return dataclasses.replace(self, busy_watts=busy)


def share(cap_watts: float, draw: Draw) -> float:
    """Of the time that may be computed under a cap, ``LEAST_SHARE`` to 1.

    A card of which nothing is known computes all the time: nobody could say what a cap means.
    """
    if draw.busy_watts is None:
        return 1.0
    busy = draw.busy_watts
    idle = _IDLE_RATIO * busy if draw.idle_watts is None else min(draw.idle_watts, busy)
    if cap_watts >= busy or busy <= idle:
        return 1.0
    return max(LEAST_SHARE, (cap_watts - idle) / (busy - idle))


def computes(seconds: float, cap_watts: float, draw: Draw) -> bool:
    """Whether this moment of the period, in monotonic seconds, is one of computing."""
    return seconds % PERIOD_SECONDS < share(cap_watts, draw) * PERIOD_SECONDS


def cap_to_cycle(holds: Iterable[Hold]) -> float | None:
    """The lowest cap that heat or noise ask for; None when they ask for none."""
    caps = [
        hold.cap_watts
        for hold in holds
        if hold.reason in _REASONS and hold.effect is Effect.CAP and hold.cap_watts is not None
    ]
    return min(caps, default=None)


def cycled(setpoint: Setpoint, holds: Iterable[Hold], seconds: float, draw: Draw) -> Setpoint:
    """The setpoint of this moment where caps cannot be put into force otherwise."""
    cap = cap_to_cycle(holds)
    if setpoint.effect is not Effect.CAP or cap is None or computes(seconds, cap, draw):
        return setpoint
    return dataclasses.replace(setpoint, effect=Effect.PAUSE)
