"""What each level really gives and takes, from the run itself: heat and other users change it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.problem import Level

#: hours of running after which a measurement counts for 1/e
_MEMORY_HOURS = 2.0


@dataclass(frozen=True)
class Reading:
    """One stretch of running at one level."""

    limit_watts: float | None
    tokens_per_second: float
    wall_watts: float | None
    seconds: float


@dataclass(frozen=True)
class _Mean:
    value: float
    hours: float

    def fold(self, value: float, hours: float) -> _Mean:
        """An exponentially weighted mean that trusts its first readings as a plain one."""
        seen = self.hours * math.exp(-hours / _MEMORY_HOURS)
        return _Mean((self.value * seen + value * hours) / (seen + hours), seen + hours)


@dataclass(frozen=True)
class Measured:
    """Levels by their limit, each with a profile to begin with and what was seen since."""

    levels: tuple[Level, ...]
    #: tokens a second at full speed, once anything was measured
    full_tokens_per_second: float | None = None
    speeds: tuple[tuple[float | None, _Mean], ...] = ()
    watts: tuple[tuple[float | None, _Mean], ...] = ()

    @classmethod
    def of(cls, levels: Sequence[Level], full_tokens_per_second: float | None = None) -> Measured:
        """Nothing seen yet: a profile, or an assumption."""
        return cls(tuple(levels), full_tokens_per_second)

    @classmethod
    def again(
        cls, levels: Sequence[Level], readings: Sequence[Reading], full_tokens_per_second: float
    ) -> Measured:
        """What an earlier one had seen, see ``readings``."""
        known = cls.of(levels, full_tokens_per_second)
        for reading in readings:
            known = known.fold(reading)
        return known

    def readings(self) -> list[Reading]:
        """All that was seen, one reading a level: what survives a restart."""
        full, watts = self.full_tokens_per_second or 0.0, dict(self.watts)
        return [
            Reading(
                limit,
                speed.value * full,
                watts[limit].value if limit in watts else None,
                speed.hours * 3600.0,
            )
            for limit, speed in self.speeds
        ]

    def fold(self, reading: Reading) -> Measured:
        """Take a reading in; one of an unknown level, or of no time, says nothing."""
        level = next((lv for lv in self.levels if lv.limit_watts == reading.limit_watts), None)
        if level is None or reading.seconds <= 0.0 or reading.tokens_per_second <= 0.0:
            return self
        hours = reading.seconds / 3600.0
        full = self.full_tokens_per_second or reading.tokens_per_second / level.rate
        speeds = _folded(self.speeds, reading.limit_watts, reading.tokens_per_second / full, hours)
        watts = self.watts
        if reading.wall_watts is not None:
            watts = _folded(watts, reading.limit_watts, reading.wall_watts, hours)
        return replace(
            self,
            full_tokens_per_second=full,
            speeds=speeds,
            watts=watts,
            levels=tuple(_seen(lv, dict(speeds), dict(watts)) for lv in self.levels),
        )


def _folded(
    means: tuple[tuple[float | None, _Mean], ...], key: float | None, value: float, hours: float
) -> tuple[tuple[float | None, _Mean], ...]:
    known = dict(means)
    known[key] = known[key].fold(value, hours) if key in known else _Mean(value, hours)
    return tuple(known.items())


def _seen(
    level: Level, speeds: dict[float | None, _Mean], watts: dict[float | None, _Mean]
) -> Level:
    rate = speeds[level.limit_watts].value if level.limit_watts in speeds else level.rate
    wall = watts[level.limit_watts].value if level.limit_watts in watts else level.wall_watts
    return replace(level, rate=rate, wall_watts=wall)
