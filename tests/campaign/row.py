"""One line of the campaign's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What one kind of fault did, over all the times that it was injected."""

    fault: str
    injected: int
    #: the training time that had to be done again
    lost_worst_seconds: float
    lost_median_seconds: float
    recovered: int
    #: results that were wrong and not noticed; anything but 0 is a defect
    wrong: int
