"""Levels of a card before anybody measured them: where to put them, and what to assume."""

from __future__ import annotations

from bisect import bisect_left

from orchestrator.planning.problem import Level

#: fraction of the default limit and relative speed of dense training, assumed: between the
#: measured Turing, Ampere and Volta curves of Zeus (NSDI'23) and published RTX 40 points.
#: No curve of an RTX 4070 that trains was found, so: profile.
ASSUMED_CURVE = ((0.5, 0.70), (0.6, 0.82), (0.7, 0.90), (0.8, 0.95), (0.9, 0.98), (1.0, 1.0))


def assumed_speed(fraction: float) -> float:
    """The assumed relative speed at a fraction of the default power limit, 0..1."""
    points = ASSUMED_CURVE
    place = bisect_left([at for at, _ in points], fraction)
    if place == 0:
        # Below half the limit speed collapses faster than power.
        return float(points[0][1] * (fraction / points[0][0]) ** 1.5)
    if place == len(points):
        return points[-1][1]
    (low, slow), (high, fast) = points[place - 1], points[place]
    return slow + (fast - slow) * (fraction - low) / (high - low)


def assumed_levels(
    lowest_watts: float,
    default_watts: float,
    *,
    rest_watts: float = 20.0,
    supply_efficiency: float = 0.88,
    steps: int = 6,
) -> tuple[Level, ...]:
    """Levels evenly from the card's lowest limit to its default, speeds by the assumed curve.

    Args:
        rest_watts: what running draws outside of the card: processor, memory, fans.
        supply_efficiency: of the power supply; wall = (card + rest) / efficiency.
    """
    count = max(1, steps if default_watts > lowest_watts else 1)
    span = (default_watts - lowest_watts) / max(1, count - 1)
    limits = [lowest_watts + span * number for number in range(count)] if count > 1 else []
    limits = [*limits[:-1], default_watts]
    return tuple(
        Level(limit, assumed_speed(limit / default_watts), (limit + rest_watts) / supply_efficiency)
        for limit in limits
    )


def full_power_only(wall_watts: float) -> tuple[Level, ...]:
    """Without the right to set a limit there is one level, and no cap can be obeyed."""
    return (Level(None, 1.0, wall_watts),)
