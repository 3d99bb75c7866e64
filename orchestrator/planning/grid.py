"""A problem as plain numbers, laid out once for many multipliers."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from orchestrator.planning.problem import Problem

#: (which levels are allowed, which fraction of the slot does work)
Kind = tuple[tuple[int, ...], float]


@dataclass
class Grid:
    """The slots' numbers. Commitments are slot indices, so slots of mixed length need no ages.

    A start at slot t stays on until ``up_end[t]``, a stop off until ``down_end[t]``. A blocked
    slot ends a minimum up time early: the house has the last word.
    """

    problem: Problem
    hours: list[float] = field(default_factory=list)
    price: list[float] = field(default_factory=list)
    blocked: list[bool] = field(default_factory=list)
    #: seconds from the first slot to each border, one more than there are slots
    edges: list[float] = field(default_factory=list)
    up_end: list[int] = field(default_factory=list)
    down_end: list[int] = field(default_factory=list)
    #: the first blocked slot at or after each slot
    next_blocked: list[int] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    #: the kind of each slot when nothing is lost in it; -1 where it is blocked
    plain: list[int] = field(default_factory=list)
    #: by pause, by slot: the kind of the slot when the start falls into it
    start: list[list[int]] = field(default_factory=list)
    #: by pause, by slot: further slots that a long start reaches into, each with its kind
    more: list[dict[int, list[tuple[int, int]]]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The number of slots."""
        return len(self.hours)

    def index_of(self, seconds: float) -> int:
        """The first border at or after ``seconds``."""
        return bisect_left(self.edges, seconds - 1e-6)

    def losses(self, first: int, seconds: float) -> list[tuple[int, int]]:
        """The slots from ``first`` on that a loss of ``seconds`` reaches into, with their kinds."""
        found: list[tuple[int, int]] = []
        left, slot = seconds / 3600.0, first
        while slot < self.size and not self.blocked[slot] and (left > 1e-12 or not found):
            lost = min(left, self.hours[slot])
            levels = self.kinds[self.plain[slot]][0]
            found.append((slot, self._kind((levels, 1.0 - lost / self.hours[slot]))))
            left -= lost
            slot += 1
        return found

    def _kind(self, kind: Kind) -> int:
        try:
            return self._numbers[kind]
        except KeyError:
            self._numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
            return self._numbers[kind]

    def __post_init__(self) -> None:
        self._numbers: dict[Kind, int] = {}
        machine = self.problem.machine
        origin = self.problem.slots[0].start
        self.edges.append(0.0)
        allowed = {cap: machine.within(cap) for cap in {s.cap_watts for s in self.problem.slots}}
        for slot in self.problem.slots:
            self.hours.append(slot.hours)
            self.price.append(slot.price)
            self.edges.append((slot.end - origin).total_seconds())
            levels = allowed[slot.cap_watts]
            self.blocked.append(slot.blocked or not levels)
            self.plain.append(-1 if self.blocked[-1] else self._kind((levels, 1.0)))
        self._commitments(machine.min_up_seconds, machine.min_down_seconds)
        for pause in machine.pauses:
            self._starts(pause.restart_seconds)

    def _commitments(self, min_up: float, min_down: float) -> None:
        ahead = self.size
        self.next_blocked = [0] * (self.size + 1)
        self.next_blocked[self.size] = self.size
        for slot in range(self.size - 1, -1, -1):
            ahead = slot if self.blocked[slot] else ahead
            self.next_blocked[slot] = ahead
        for slot in range(self.size):
            up = max(slot + 1, self.index_of(self.edges[slot] + min_up))
            self.up_end.append(min(up, max(slot + 1, self.next_blocked[slot]), self.size))
            down = max(slot + 1, self.index_of(self.edges[slot] + min_down))
            self.down_end.append(min(down, self.size))

    def _starts(self, restart_seconds: float) -> None:
        first: list[int] = []
        more: dict[int, list[tuple[int, int]]] = {}
        for slot in range(self.size):
            reached = self.losses(slot, restart_seconds) if not self.blocked[slot] else []
            first.append(reached[0][1] if reached else -1)
            if len(reached) > 1:
                more[slot] = reached[1:]
        self.start.append(first)
        self.more.append(more)
