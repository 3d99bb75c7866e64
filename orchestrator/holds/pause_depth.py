"""How deep to pause: keep the process for minutes, give everything back for hours. Pure.

A paused trainer keeps its memory, and the card some clocks and watts for it; a released one costs
a restart: load, compile, warm up. The break-even is where the one equals the other. The defaults
are assumptions about a home card until its own history says better: three minutes at 220 W to
start, 20 W more while the memory is kept.
"""

from __future__ import annotations

import math

from orchestrator.domain import Effect


def break_even_seconds(
    restart_seconds: float = 180.0, full_watts: float = 220.0, kept_watts: float = 20.0
) -> float:
    """From which length on a release uses less energy than a pause.

    Args:
        restart_seconds: from the start of the process until it trains at its old speed.
        full_watts: drawn meanwhile.
        kept_watts: drawn more by a paused trainer than by none. 0 or less: never.
    """
    if kept_watts <= 0:
        return math.inf
    return restart_seconds * full_watts / kept_watts


def pause_depth(expected_seconds: float | None, release_after_seconds: float) -> Effect:
    """PAUSE for what is short or of unknown length, RELEASE for what is long."""
    if expected_seconds is None or expected_seconds < release_after_seconds:
        return Effect.PAUSE
    return Effect.RELEASE
