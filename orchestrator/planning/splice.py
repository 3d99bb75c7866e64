"""From two neighbouring policies to one plan that does just the work: splice, then trim."""

from __future__ import annotations

from itertools import accumulate

from orchestrator.planning.grid import Grid
from orchestrator.planning.multiplier import Policy


def splice(much: Policy, little: Policy, work: float) -> list[int] | None:
    """Take one policy up to a border and the other from there, so that the work is just done.

    Both are best at the same multiplier, so a change where both stand alike is best there, too,
    and what exceeds the work is all that is given away. None when they never stand alike.
    """
    best: tuple[float, list[int]] | None = None
    for first, second in ((much, little), (little, much)):
        done = list(accumulate(first.works, initial=0.0))
        spent = list(accumulate(first.costs, initial=0.0))
        done_second = list(accumulate(second.works, initial=0.0))
        spent_second = list(accumulate(second.costs, initial=0.0))
        for border in range(len(first.choices) + 1):
            mark = first.marks[border]
            if mark < 0 or mark != second.marks[border]:
                continue
            if done[border] + second.work - done_second[border] < work - 1e-9:
                continue
            cost = spent[border] + second.cost - spent_second[border]
            if best is None or cost < best[0]:
                best = (cost, first.choices[:border] + second.choices[border:])
    return best[1] if best else None


def trim(grid: Grid, choices: list[int], excess: float) -> list[int]:
    """Lower levels where that saves most for the work it loses, until the excess is used up.

    Steps within running slots only: they change neither starts nor minimum times. The slot of a
    start is left alone, because its loss belongs to its level.
    """
    machine = grid.problem.machine
    steps: list[tuple[float, int, int, float]] = []
    for slot, choice in enumerate(choices):
        if choice < 0 or slot == 0 or choices[slot - 1] < 0:
            continue
        level, hours = machine.levels[choice], grid.hours[slot]
        for lower in grid.kinds[grid.plain[slot]][0]:
            candidate = machine.levels[lower]
            lost = (level.rate - candidate.rate) * hours
            if lost <= 1e-12 or lost > excess:
                continue
            kilowatts = (level.wall_watts - candidate.wall_watts) / 1000.0
            saved = grid.price[slot] * kilowatts * hours
            if saved > 0.0:
                steps.append((saved / lost, slot, lower, lost))
    trimmed, changed = list(choices), set[int]()
    for _, slot, lower, lost in sorted(steps, reverse=True):
        if slot not in changed and lost <= excess:
            trimmed[slot] = lower
            changed.add(slot)
            excess -= lost
    return trimmed
