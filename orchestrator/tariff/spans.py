"""How long slots last, where a source says only when they start."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

#: no market sells longer slots, so a longer distance is a gap
LONGEST_SLOT = timedelta(hours=1)


def lengths(starts: Sequence[datetime]) -> list[timedelta]:
    """How long each slot lasts, given only where slots start.

    The distance to the next start is the length where a neighbouring distance agrees; anything
    else is the edge of a gap, and there the shortest distance around decides.
    """
    distances = [after - before for before, after in itertools.pairwise(starts)]
    usual = _usual(distances)
    found = []
    for index in range(len(starts)):
        ahead = distances[index] if index < len(distances) else None
        around = [distances[near] for near in (index - 1, index + 1) if 0 <= near < len(distances)]
        if ahead is not None and ahead <= LONGEST_SLOT and ahead in around:
            found.append(ahead)
            continue
        candidates = [span for span in (ahead, *around) if span and span <= LONGEST_SLOT]
        found.append(min(candidates, default=usual))
    return found


def _usual(distances: Iterable[timedelta]) -> timedelta:
    counted = Counter(distance for distance in distances if distance <= LONGEST_SLOT)
    return counted.most_common(1)[0][0] if counted else LONGEST_SLOT
