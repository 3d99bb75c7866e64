"""How often to save: often enough to lose little, seldom enough to cost little. Pure.

The optimum between the time that saves cost and the time that is computed again after a failure
is sqrt(2 C M) for a cost of C seconds a save and M seconds between failures (Young, 1974; Daly,
2006). On one home GPU a save costs so little that the wear of the SSD is the limit instead: so
many bytes a month, and no more. Above both stands what a person may lose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: failures are taken to come once a day until more is known
UNKNOWN_MTBF_SECONDS = 86_400.0
#: more often is of no use to anybody
SHORTEST_SECONDS = 60.0
#: until the first save has shown what one costs
FIRST_SECONDS = 300.0
_MONTH_SECONDS = 30 * 86_400.0


@dataclass(frozen=True)
class Habits:
    """What decides, besides the cost of a save."""

    #: the most that a power cut at the worst moment may cost, in seconds of computing
    most_lost_seconds: float = 900.0
    #: mean time between failures, as observed; 0 means that nobody knows
    mtbf_seconds: float = 0.0
    #: what checkpoints may write in 30 days; 0 means no limit
    month_bytes: float = 0.0


@dataclass(frozen=True)
class Choice:
    """An interval, and what made it this long, to follow "Saves come every N s"."""

    seconds: float
    why: str


def choose(save_seconds: float, size_bytes: int, habits: Habits) -> Choice:
    """From one save to the next, whatever may be lost meanwhile."""
    mtbf = habits.mtbf_seconds or UNKNOWN_MTBF_SECONDS
    known = "as observed" if habits.mtbf_seconds else "as assumed until more is known"
    wear = size_bytes * _MONTH_SECONDS / habits.month_bytes if habits.month_bytes else 0.0
    return max(
        Choice(SHORTEST_SECONDS, "more often is of no use"),
        Choice(
            math.sqrt(2 * max(save_seconds, 0.0) * mtbf),
            f"a save costs {save_seconds:.2f} s of training, and failures come "
            f"every {mtbf / 3600:.1f} h, {known}",
        ),
        Choice(
            wear,
            f"the SSD may take {habits.month_bytes / 1e12:.3g} TB in 30 days, "
            "checkpoint.ssd_terabytes_per_month",
        ),
        key=lambda choice: choice.seconds,
    )


def best_seconds(save_seconds: float, size_bytes: int, habits: Habits) -> float:
    """Seconds from one save to the next, whatever may be lost meanwhile."""
    return choose(save_seconds, size_bytes, habits).seconds


def bounded(choice: Choice, step_seconds: float, save_seconds: float, most: float) -> Choice:
    """What is left of a choice where no more than ``most`` seconds may be lost."""
    allowed = most - step_seconds - save_seconds
    if choice.seconds <= max(allowed, step_seconds):
        return Choice(max(choice.seconds, step_seconds), choice.why)
    why = f"a power cut may cost {most:.0f} s, checkpoint.most_lost_seconds"
    return Choice(max(allowed, step_seconds), why)


def worst_seconds(
    interval_seconds: float, step_seconds: float, save_seconds: float, most: float
) -> float:
    """What a cut at the worst moment costs: just before a save is durable.

    No save comes before the end of a step: one that takes longer than ``most`` breaks it.
    """
    late = max(interval_seconds, step_seconds) + step_seconds + save_seconds
    return max(min(late, most), step_seconds + save_seconds)


def is_due(
    age_seconds: float, wait_seconds: float, step_seconds: float, save_seconds: float, most: float
) -> bool:
    """Whether to save now, at the end of a step.

    Either it is time, or waiting for another step and saving then could lose more than ``most``:
    a cut just before that save is durable costs all since the last one.
    """
    return age_seconds >= wait_seconds or age_seconds + step_seconds + save_seconds > most


def month_bytes(seconds: float, size_bytes: int) -> float:
    """What saves of that size at that interval write in 30 days."""
    return size_bytes * _MONTH_SECONDS / max(seconds, 1e-9)
