"""Small improvements of a plan, one slot at a time; they matter when few slots are left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.planning.grid import Grid
from orchestrator.planning.multiplier import DONE, off, pause_of

#: no plan needs more; a bound on the time
_MOST_MOVES = 40


@dataclass(frozen=True)
class _Move:
    slot: int
    choice: int
    cost: float
    work: float


class Polish:
    """Moves single slots of a plan: another level, or a run longer or shorter by one slot.

    Runs only change their length when no minimum times have to be kept.
    """

    def __init__(self, grid: Grid, choices: list[int]) -> None:
        machine = grid.problem.machine
        self._grid, self._machine = grid, machine
        self._deepest = off(len(machine.pauses) - 1)
        self.choices = [self._deepest if item == DONE else item for item in choices]
        self._edges = machine.min_up_seconds == machine.min_down_seconds == 0.0
        self._longest = max(pause.restart_seconds for pause in machine.pauses) / 3600.0
        #: so many slots after a change can lose another part of a restart
        self._reach = 1 + int(self._longest / min(grid.hours))

    def reach(self, work: float, done: float) -> bool:
        """Add work as cheaply as single moves can, until it is enough; False when they cannot."""
        for _ in range(_MOST_MOVES):
            if done >= work - 1e-9:
                return True
            moves = [move for move in self._moves() if move.work > 1e-9]
            if not moves:
                return False
            missing = work - done
            best = min(moves, key=lambda m: (max(0.0, m.cost) + 1e-9) / min(m.work, missing))
            self.choices[best.slot] = best.choice
            done += best.work
        return done >= work - 1e-9

    def save(self, work: float, done: float) -> None:
        """Spend what exceeds the work on the moves that save most."""
        for _ in range(_MOST_MOVES):
            excess = done - work
            moves = [m for m in self._moves() if m.cost < -1e-9 and excess + m.work >= -1e-9]
            if not moves:
                return
            best = min(moves, key=lambda m: m.cost)
            self.choices[best.slot] = best.choice
            done += best.work

    def _moves(self) -> Iterator[_Move]:
        choices, grid = self.choices, self._grid
        for slot, choice in enumerate(choices):
            if grid.blocked[slot]:
                continue
            before = choices[slot - 1] >= 0 if slot else grid.problem.standing.on
            after = slot + 1 < len(choices) and choices[slot + 1] >= 0
            if choice < 0 and not (self._edges and (before or after)):
                continue
            options = list(grid.kinds[grid.plain[slot]][0])
            if self._edges and choice >= 0 and not (before and after):
                options.append(self._deepest)
            old = self._account(slot)
            for option in options:
                if option != choice:
                    choices[slot] = option
                    new = self._account(slot)
                    yield _Move(slot, option, new[0] - old[0], new[1] - old[1])
            choices[slot] = choice

    def _account(self, first: int) -> tuple[float, float]:
        """Cost and work of a slot and of those that its change can reach."""
        grid, levels = self._grid, self._machine.levels
        cost = work = 0.0
        lost = self._loss_into(first)
        for slot in range(first, min(first + 1 + self._reach, len(self.choices))):
            choice, hours = self.choices[slot], grid.hours[slot]
            if choice < 0:
                watts = self._machine.pauses[pause_of(choice)].idle_watts
                lost = self._machine.pauses[pause_of(choice)].restart_seconds / 3600.0
            else:
                watts = levels[choice].wall_watts
                now = min(lost, hours)
                work += levels[choice].rate * (hours - now)
                lost -= now
            cost += grid.price[slot] * watts / 1000.0 * hours
        return cost, work

    def _loss_into(self, slot: int) -> float:
        """What is still to be lost at the border before ``slot``, if it runs."""
        standing = self._grid.problem.standing
        first = max(0, slot - self._reach)
        left = self._longest
        if first == 0:
            left = standing.loss_left_seconds if standing.on else self._restart(standing.pause)
            left /= 3600.0
        for earlier in range(first, slot):
            choice = self.choices[earlier]
            if choice < 0:
                left = self._restart(pause_of(choice)) / 3600.0
            else:
                left = max(0.0, left - self._grid.hours[earlier])
        return left

    def _restart(self, pause: int) -> float:
        return self._machine.pauses[pause].restart_seconds
