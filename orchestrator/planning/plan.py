"""A plan: a choice for every slot until the finish, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.planning.multiplier import DONE, off, pause_of
from orchestrator.planning.problem import Level, Pause, Problem, Slot, Standing


@dataclass(frozen=True)
class Part:
    """What the plan does in one slot; ``level`` None means that it pauses."""

    start: datetime
    end: datetime
    price: float
    known: bool
    level: Level | None
    pause: Pause | None
    #: hours of work done in it
    work_hours: float
    kilowatt_hours: float
    cost: float


@dataclass(frozen=True)
class Plan:
    """What to do when, until the finish."""

    problem: Problem
    #: a level's index, ``off(pause)`` or DONE, by slot
    choices: tuple[int, ...]
    parts: tuple[Part, ...]
    cost: float
    kilowatt_hours: float
    work_hours: float
    starts: int
    #: when the work is done; None when it is not done within the slots
    finish: datetime | None
    #: no plan of the same problem can cost less; None where nobody computed it
    bound: float | None = None
    #: money per hour of work at the margin
    value: float = 0.0

    @property
    def gap(self) -> float | None:
        """How much more than the best it can cost at most, as a fraction."""
        if self.bound is None:
            return None
        return max(0.0, self.cost - self.bound) / max(abs(self.bound), 1e-9)

    def part_at(self, moment: datetime) -> Part | None:
        """What it does at ``moment``; None after its end and before its beginning."""
        return next((part for part in self.parts if part.start <= moment < part.end), None)

    def work_by(self, moment: datetime) -> float:
        """Hours of work that it will have done at ``moment``."""
        done = 0.0
        for part in self.parts:
            if part.end <= moment:
                done += part.work_hours
            elif part.start < moment:
                share = (moment - part.start) / (part.end - part.start)
                done += part.work_hours * share
        return done


def tally(
    problem: Problem,
    choices: Sequence[int],
    *,
    bound: float | None = None,
    value: float = 0.0,
) -> Plan:
    """Follow the choices until the work is done.

    A start loses the restart time of the pause that it leaves at the level of its own slot. The
    last slot ends when the work does. After the last choice the machine draws nothing more.
    """
    walk = Walk(problem)
    for slot, choice in zip(problem.slots, choices, strict=False):
        if walk.finish is not None or choice == DONE:
            break
        walk.take(slot, choice)
    return walk.plan(bound=bound, value=value)


class Walk:
    """Follows choices slot by slot and keeps the account."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        standing = problem.standing
        self._on, self._pause = standing.on, standing.pause
        self._lost = standing.loss_left_seconds / 3600.0 if standing.on else 0.0
        self._age = standing.age_seconds
        self.choices: list[int] = []
        self.parts: list[Part] = []
        self.done = 0.0
        self.starts = 0
        self.finish: datetime | None = None

    def plan(self, *, bound: float | None = None, value: float = 0.0) -> Plan:
        """What was followed so far, as a plan."""
        return Plan(
            problem=self._problem,
            choices=tuple(self.choices),
            parts=tuple(self.parts),
            cost=sum(part.cost for part in self.parts),
            kilowatt_hours=sum(part.kilowatt_hours for part in self.parts),
            work_hours=self.done,
            starts=self.starts,
            finish=self.finish,
            bound=bound,
            value=value,
        )

    @property
    def standing(self) -> Standing:
        """How the machine stands after what was followed so far."""
        return Standing(self._on, self._age, self._lost * 3600.0, self._pause)

    def take(self, slot: Slot, choice: int) -> None:
        """Do ``choice`` in ``slot``; nothing may come after the finish."""
        self.choices.append(choice)
        self._age = slot.hours * 3600.0 + (self._age if (choice >= 0) == self._on else 0.0)
        if choice < 0:
            self._rest(slot, pause_of(choice))
            return
        machine = self._problem.machine
        if not self._on:
            self._on, self.starts = True, self.starts + 1
            self._lost = machine.pauses[self._pause].restart_seconds / 3600.0
        level, hours = machine.levels[choice], slot.hours
        lost = min(self._lost, hours)
        self._lost -= lost
        missing = max(0.0, self._problem.work_hours - self.done) / level.rate
        end = slot.end
        if missing <= hours - lost + 1e-9:
            hours = min(hours, lost + missing)
            end = self.finish = min(slot.end, slot.start + timedelta(hours=hours))
        work = level.rate * (hours - lost)
        self.done += work
        energy = level.wall_watts / 1000.0 * hours
        self._add(slot, end, level, None, work, energy)

    def _rest(self, slot: Slot, pause: int) -> None:
        self._pause = pause if self._on else max(pause, self._pause)
        self._on = False
        chosen = self._problem.machine.pauses[self._pause]
        energy = chosen.idle_watts / 1000.0 * slot.hours
        self._add(slot, slot.end, None, chosen, 0.0, energy)

    def _add(
        self,
        slot: Slot,
        end: datetime,
        level: Level | None,
        pause: Pause | None,
        work: float,
        energy: float,
    ) -> None:
        self.parts.append(
            Part(
                slot.start, end, slot.price, slot.known, level, pause, work, energy,
                slot.price * energy,
            )
        )  # fmt: skip


def flat_out(problem: Problem) -> list[int]:
    """The fastest allowed level in every slot, the deepest pause where nothing may run.

    Heeds no minimum times: nothing can be done earlier.
    """
    machine = problem.machine
    fastest: dict[float | None, int | None] = {}
    for cap in {slot.cap_watts for slot in problem.slots}:
        allowed = machine.within(cap)
        fastest[cap] = max(allowed, key=lambda i: machine.levels[i].rate) if allowed else None
    choices = []
    for slot in problem.slots:
        level = None if slot.blocked else fastest[slot.cap_watts]
        choices.append(off(len(machine.pauses) - 1) if level is None else level)
    return choices
