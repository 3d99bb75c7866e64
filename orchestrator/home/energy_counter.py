"""Watts out of counters of energy, which wrap, start anew and stand still. Pure.

A card counts since its driver was loaded (NVML, since Volta), a plug since it was made or reset.
A counter that reads less than before has started anew: what it counted in between is unknown,
and never negative. Nothing is kept over a restart of the daemon: no run is trained meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

#: two readings closer together say more about the counter's own rhythm than about power
_SHORTEST_SECONDS = 0.2
#: a counter of coarse steps that stood still for so long says nothing about now
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Counter:
    """A reading of a counter, and the mean power that led to it."""

    joules: float
    at_seconds: float
    #: None: the first reading, or the first after a reset
    watts: float | None = None


def advance(before: Counter | None, joules: float, at_seconds: float) -> Counter:
    """The next reading of a counter that is read often and counts finely (NVML, RAPL)."""
    if before is None or joules < before.joules:
        return Counter(joules, at_seconds)
    seconds = at_seconds - before.at_seconds
    if seconds < _SHORTEST_SECONDS:
        return before
    return Counter(joules, at_seconds, (joules - before.joules) / seconds)


def advance_coarse(before: Counter | None, joules: float, at_seconds: float) -> Counter:
    """The same for one of coarse steps, such as 0.01 kWh: from one change to the next.

    While it stands still, the last power counts, for an hour at most.
    """
    if before is None or joules < before.joules:
        return Counter(joules, at_seconds)
    seconds = at_seconds - before.at_seconds
    if joules == before.joules or seconds <= 0:
        return Counter(joules, at_seconds) if seconds > _LONGEST_SECONDS else before
    return Counter(joules, at_seconds, (joules - before.joules) / seconds)
