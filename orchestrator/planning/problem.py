"""The question that the planner answers: slots, what the machine can do, what is left to do.

Work is counted in hours at full speed, power in watts at the wall, money in the tariff's
currency. Money is Decimal at the edges (tariff, ledger); in here it is float, because a plan is
a choice between futures and no bookkeeping: the choice is exact to about one part in 10^12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Slot:
    """A span of time with one price, half-open [start, end), in UTC."""

    start: datetime
    end: datetime
    #: money per kWh, everything included; may be negative
    price: float
    #: False: a forecast
    known: bool = True
    #: the highest power limit that is allowed meanwhile (quiet hours)
    cap_watts: float | None = None
    #: nothing may run meanwhile
    blocked: bool = False

    @property
    def hours(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds() / 3600.0


@dataclass(frozen=True)
class Level:
    """One way to run: a power limit of the card and what it gives and takes."""

    #: the card's limit; None where the right to set one is missing
    limit_watts: float | None
    #: work done in an hour, in hours at full speed: 1 is full speed
    rate: float
    #: drawn at the wall, all of the machine that counts
    wall_watts: float


@dataclass(frozen=True)
class Pause:
    """One way not to run: what it draws meanwhile and what going on again costs."""

    name: str = "release"
    idle_watts: float = 0.0
    #: lost at the next start: checkpoint load, compilation, warm-up
    restart_seconds: float = 120.0


@dataclass(frozen=True)
class Machine:
    """What can be chosen. ``pauses`` go from the shallowest to the deepest.

    A start is always carried through its restart time, even when that is longer than min_up.
    """

    levels: tuple[Level, ...]
    pauses: tuple[Pause, ...] = (Pause(),)
    min_up_seconds: float = 0.0
    min_down_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("a machine without levels cannot run")
        if not self.pauses:
            raise ValueError("a machine that cannot pause needs no plan")
        if any(level.rate <= 0.0 or level.wall_watts < 0.0 for level in self.levels):
            raise ValueError("a level has a positive rate and does not give power back")
        if any(item.idle_watts < 0.0 or item.restart_seconds < 0.0 for item in self.pauses):
            raise ValueError("a pause neither gives power back nor wins time")

    @property
    def full_rate(self) -> float:
        """The most work an hour can hold."""
        return max(level.rate for level in self.levels)

    def within(self, cap_watts: float | None) -> tuple[int, ...]:
        """The levels that a cap allows, as indices."""
        return tuple(
            index
            for index, level in enumerate(self.levels)
            if cap_watts is None
            or (level.limit_watts is not None and level.limit_watts <= cap_watts + 1e-9)
        )


@dataclass(frozen=True)
class Standing:
    """How the machine stands at the start of the first slot. A plan without it would flap."""

    on: bool = False
    #: since it last started or stopped
    age_seconds: float = 1e9
    #: of a start that is not through yet
    loss_left_seconds: float = 0.0
    #: which pause it is in, when it is off
    pause: int = 0


@dataclass(frozen=True)
class Problem:
    """Slots without gaps from now on, the machine, and the work that is left."""

    slots: tuple[Slot, ...]
    machine: Machine
    work_hours: float
    standing: Standing = Standing()

    def __post_init__(self) -> None:
        if not self.slots:
            raise ValueError("there is no slot to plan for")
        for before, after in zip(self.slots, self.slots[1:], strict=False):
            if before.end != after.start:
                raise ValueError(f"a gap or an overlap between the slots at {before.end}")
        if any(slot.end <= slot.start for slot in self.slots):
            raise ValueError("a slot ends before it begins")


def efficient_levels(levels: Sequence[Level], idle_watts: float = 0.0) -> list[Level]:
    """The upper concave hull of the levels with (idle watts, no work): those worth choosing.

    Ascending in watts. A level below the hull is beaten by a mixture of its neighbours (or of
    pausing and its right neighbour) at every positive price.
    """
    hull: list[Level] = []
    origin = Level(None, 0.0, idle_watts)
    for level in sorted(levels, key=lambda item: (item.wall_watts, -item.rate)):
        if level.rate <= (hull[-1].rate if hull else 0.0):
            continue
        while hull and _slope(hull[-2] if len(hull) > 1 else origin, hull[-1]) <= _slope(
            hull[-1], level
        ):
            hull.pop()
        hull.append(level)
    return hull


def _slope(low: Level, high: Level) -> float:
    watts = high.wall_watts - low.wall_watts
    return (high.rate - low.rate) / watts if watts > 0.0 else float("inf")


def until(slots: Sequence[Slot], end: datetime) -> tuple[Slot, ...]:
    """The slots up to ``end``; the last one is cut there."""
    kept = [slot for slot in slots if slot.start < end]
    if kept and kept[-1].end > end:
        kept[-1] = _cut(kept[-1], kept[-1].start, end)
    return tuple(kept)


def since(slots: Sequence[Slot], start: datetime) -> tuple[Slot, ...]:
    """The slots from ``start`` on; the first one is cut there."""
    kept = [slot for slot in slots if slot.end > start]
    if kept and kept[0].start < start:
        kept[0] = _cut(kept[0], start, kept[0].end)
    return tuple(kept)


def coarsened(slots: Sequence[Slot], span: timedelta = timedelta(hours=1)) -> tuple[Slot, ...]:
    """Neighbouring forecast slots of equal rules merged up to ``span``, at their mean price.

    A forecast knows no quarters of an hour, and a plan for weeks is several times faster so.
    """
    merged: list[Slot] = []
    for slot in slots:
        last = merged[-1] if merged else None
        if (
            last is not None
            and not last.known
            and not slot.known
            and (last.cap_watts, last.blocked) == (slot.cap_watts, slot.blocked)
            and slot.end - last.start <= span
        ):
            weight = slot.hours / (last.hours + slot.hours)
            price = last.price + (slot.price - last.price) * weight
            merged[-1] = Slot(last.start, slot.end, price, False, slot.cap_watts, slot.blocked)
        else:
            merged.append(slot)
    return tuple(merged)


def _cut(slot: Slot, start: datetime, end: datetime) -> Slot:
    return Slot(start, end, slot.price, slot.known, slot.cap_watts, slot.blocked)
