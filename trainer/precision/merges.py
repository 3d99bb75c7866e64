"""When the adapters of a low-rank recipe are merged into their base: a growing schedule.

Early in training the gradient's leading directions turn quickly, later they stay; so LoQT
(arXiv 2405.16528) merges after 100 steps, then after 120, 144 and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: each interval is so many times the one before
GROWTH = 1.2
#: classic nanochat starts with zeros in its head and output projections: step 2 is the first one
#: in which every matrix of a block has a gradient
FIRST_STEP = 2
_FIRST_INTERVAL_STEPS = 100
#: a run that is too short for LoQT's intervals begins with this part of its horizon
_PART_OF_HORIZON = 20


@dataclass(frozen=True)
class Merges:
    """The merges of one run, as a pure function of the 0-based step."""

    #: steps between the first merge and the second
    first_interval_steps: int

    def __post_init__(self) -> None:
        if self.first_interval_steps < 1:
            raise ValueError(f"an interval has at least one step, not {self.first_interval_steps}")

    def steps(self) -> Iterator[int]:
        """The steps after whose update a merge follows, without end."""
        step, interval = FIRST_STEP, float(self.first_interval_steps)
        while True:
            yield step
            step += round(interval)
            interval *= GROWTH

    def until(self, step: int) -> int:
        """How many merges there have been before ``step`` is made."""
        count = 0
        for merge in self.steps():
            if merge >= step:
                break
            count += 1
        return count

    def last_before(self, step: int) -> int | None:
        """The newest merge before ``step``; None when there has been none."""
        last = None
        for merge in self.steps():
            if merge >= step:
                break
            last = merge
        return last

    def at(self, step: int) -> bool:
        """Whether a merge follows the update of ``step``."""
        return next(merge for merge in self.steps() if merge >= step) == step


def first_interval_steps(horizon_steps: int) -> int:
    """LoQT's 100 steps, fewer when the whole horizon is shorter than 2,000."""
    return max(1, min(_FIRST_INTERVAL_STEPS, horizon_steps // _PART_OF_HORIZON))
