"""How long steps take, as totals that add up to a histogram. Pure.

Kept as ordinary totals of the run, so that the histogram goes on over restarts like all others.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping

#: upper ends in seconds: from a small run on a processor to a large one on a home card
BOUNDS_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0)
_LABELS = (*(f"{bound:g}" for bound in BOUNDS_SECONDS), "inf")
_SUM = "step_seconds"


def totals_of(seconds: float) -> dict[str, float]:
    """What one step of so many seconds adds to the totals."""
    label = _LABELS[bisect.bisect_left(BOUNDS_SECONDS, seconds)]
    return {f"step_seconds_le_{label}": 1.0, _SUM: seconds}


def histogram(totals: Mapping[str, float]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets by their upper end as Prometheus writes it, and the sum in seconds."""
    buckets: list[tuple[str, float]] = []
    so_far = 0.0
    for label in _LABELS:
        so_far += totals.get(f"step_seconds_le_{label}", 0.0)
        buckets.append(("+Inf" if label == "inf" else str(float(label)), so_far))
    return buckets, totals.get(_SUM, 0.0)
