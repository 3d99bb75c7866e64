"""The best policy when an hour of work is worth a given amount of money.

One number, the multiplier (money per unit of work), couples all slots. With it fixed every slot
has a closed form (the level with the largest value of work less cost of power), and only being
on or off couples neighbours, by restart losses and minimum times: a backward dynamic programme
over one state for on and one for each pause. Commitments are jumps along prefix sums, so minimum
times cost nothing more. This is the dual form of CarbonScaler's greedy (Hanafy et al.,
arXiv:2302.08681) with the on/off coupling added.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.planning.grid import Grid
from orchestrator.planning.problem import Level

#: what a policy does in a slot: a level's index, ``off(pause)``, or DONE
DONE = -1000
#: what a state does next: the same, a deeper pause, the n-th pause, or a start up to a border
_STAY = -1
_DEEPER = -2
_OVER = -10
#: the state of being on; the pauses are 0, 1...
_ON = -1
#: far below any value, and still harmless in a sum
_NEVER = -1e30


def off(pause: int) -> int:
    """The choice to be in this pause."""
    return -1 - pause


def pause_of(choice: int) -> int:
    """The pause of an ``off`` choice."""
    return -1 - choice


@dataclass
class Policy:
    """One choice a slot, with what it costs and does when nothing ends it early."""

    choices: list[int]
    #: money and hours of work, by slot
    costs: list[float]
    works: list[float]
    #: at each border: -1 in the middle of a commitment, 0 free and on, 1 + pause free and off
    marks: list[int]
    cost: float = 0.0
    work: float = 0.0

    def __post_init__(self) -> None:
        self.cost = sum(self.costs)
        self.work = sum(self.works)


@dataclass
class _Envelope:
    """The best level as a function of the price: upper envelope of rate*value - price*power."""

    prices: list[float]
    gains: list[float]
    kilowatts: list[float]
    rates: list[float]
    levels: list[int]


def _envelope(
    levels: tuple[Level, ...], allowed: tuple[int, ...], active: float, value: float
) -> _Envelope:
    lines = sorted(
        (-levels[i].wall_watts / 1000.0, value * levels[i].rate * active, i) for i in allowed
    )
    hull: list[tuple[float, float, int]] = []
    borders: list[float] = []
    for slope, gain, index in lines:
        if hull and hull[-1][0] == slope:
            if gain <= hull[-1][1]:
                continue
            hull.pop()
            if borders:
                borders.pop()
        border = 0.0
        while hull:
            border = (hull[-1][1] - gain) / (slope - hull[-1][0])
            if not borders or border > borders[-1]:
                break
            hull.pop()
            borders.pop()
        if hull:
            borders.append(border)
        hull.append((slope, gain, index))
    return _Envelope(
        borders,
        [gain for _, gain, _ in hull],
        [-slope for slope, _, _ in hull],
        [levels[index].rate * active for _, _, index in hull],
        [index for _, _, index in hull],
    )


class Solver:
    """Solves one grid for any multiplier, horizon and span of allowed finishes."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        machine = grid.problem.machine
        self._idle = [pause.idle_watts / 1000.0 for pause in machine.pauses]
        self._levels = machine.levels
        standing = grid.problem.standing
        self._first_loss = (
            grid.losses(0, standing.loss_left_seconds)
            if standing.on and standing.loss_left_seconds > 0.0 and not grid.blocked[0]
            else []
        )
        self.idle_sums = [self._sums_of(idle) for idle in self._idle]
        self.evaluations = 0

    def _sums_of(self, idle: float) -> list[float]:
        total, sums = 0.0, [0.0]
        for price, hours in zip(self._grid.price, self._grid.hours, strict=True):
            total -= price * hours * idle
            sums.append(total)
        return sums

    def best(self, value: float, end: int, done_from: int | None = None) -> Policy:
        """The policy over slots [0, end) that is worth most at a value of work.

        Args:
            value: money per hour of full-speed work; may be negative.
            done_from: from this border on the run may be over, and draws nothing any more;
                None: the machine idles until ``end``.
        """
        self.evaluations += 1
        return _Pass(self._grid, self, value, end, done_from).policy()


class _Pass:
    """One backward pass and the walk forward along its choices."""

    def __init__(
        self, grid: Grid, solver: Solver, value: float, end: int, done_from: int | None
    ) -> None:
        self._g, self._end, self._done_from = grid, end, done_from
        self._solver = solver
        self._envelopes = [
            _envelope(solver._levels, allowed, active, value) for allowed, active in grid.kinds
        ]
        self._slots()
        self._backward()

    def _slots(self) -> None:
        """The closed form of every slot, its sums, and the value of getting through a start."""
        grid, end = self._g, self._end
        self._on = [
            self._value(slot, kind) if kind >= 0 else _NEVER
            for slot, kind in enumerate(grid.plain[:end])
        ]
        known = (value if value > _NEVER else 0.0 for value in self._on)
        self._sums = list(accumulate(known, initial=0.0))
        self._starts = [
            [
                self._value(slot, kind) if kind >= 0 else _NEVER
                for slot, kind in enumerate(kinds[:end])
            ]
            for kinds in grid.start
        ]
        for values, more in zip(self._starts, grid.more, strict=True):
            for slot, further in more.items():
                if slot < end:
                    values[slot] += sum(self._value(*item) for item in further if item[0] < end)

    def _value(self, slot: int, kind: int) -> float:
        envelope, price = self._envelopes[kind], self._g.price[slot]
        best = bisect_left(envelope.prices, price)
        return (envelope.gains[best] - price * envelope.kilowatts[best]) * self._g.hours[slot]

    def _backward(self) -> None:
        """Value and next choice of every state at every border, from the last to the first."""
        grid, end = self._g, self._end
        depths = len(self._starts)
        done_from = end if self._done_from is None else self._done_from
        v_on = self._v_on = [0.0] * (end + 1)
        v_off = [[0.0] * (end + 1) for _ in range(depths)]
        do_on = self._do_on = [_STAY] * end
        do_off = self._do_off = [[_STAY] * end for _ in range(depths)]
        on, idle_sums, down_end = self._on, self._solver.idle_sums, grid.down_end
        for slot in range(end - 1, -1, -1):
            best, what = (0.0, DONE) if slot >= done_from else (_NEVER, _STAY)
            down = min(down_end[slot], end)
            deeper = _NEVER
            for pause in range(depths - 1, -1, -1):
                sums, values = idle_sums[pause], v_off[pause]
                stop = sums[down] - sums[slot] + values[down]
                if stop > best:
                    best, what = stop, pause
                rest, then = sums[slot + 1] - sums[slot] + values[slot + 1], _STAY
                if slot >= done_from and rest <= 0.0:
                    rest, then = 0.0, DONE
                if deeper > rest:
                    rest, then = deeper, _DEEPER
                start, until = self._start(slot, pause, done_from)
                if start > rest:
                    rest, then = start, until
                values[slot] = deeper = rest
                do_off[pause][slot] = then
            stay = on[slot] + v_on[slot + 1]
            if stay >= best:
                v_on[slot] = stay
            else:
                v_on[slot], do_on[slot] = best, what

    def _start(self, slot: int, pause: int, done_from: int) -> tuple[float, int]:
        """The value of a start at ``slot``, and the border up to which it is bound (or over at)."""
        grid, value = self._g, self._starts[pause][slot]
        through, free = slot + 1, grid.up_end[slot]
        if free == through and slot not in grid.more[pause]:
            return value + self._v_on[through], through
        if value <= _NEVER:
            return _NEVER, _STAY
        further = grid.more[pause].get(slot)
        through = min(further[-1][0] + 1, self._end) if further else through
        return self._bound(value, through, max(through, min(free, self._end)), done_from)

    def _bound(self, value: float, through: int, free: int, done_from: int) -> tuple[float, int]:
        sums = self._sums
        best = value + sums[free] - sums[through] + self._v_on[free]
        until = free
        # The run may be over in the middle of a minimum up time.
        for over in range(max(through, done_from), free):
            if value + sums[over] - sums[through] > best:
                best, until = value + sums[over] - sums[through], _OVER - over
        return best, until

    # --- forward ----------------------------------------------------------------------------

    def policy(self) -> Policy:
        """Walk along the choices."""
        end = self._end
        self._out = Policy([DONE] * end, [0.0] * end, [0.0] * end, [-1] * (end + 1))
        slot, state = self._begin()
        while slot < end and state != DONE:
            self._out.marks[slot] = state + 1
            slot, state = self._step_on(slot) if state == _ON else self._step_off(slot, state)
        self._out.__post_init__()
        return self._out

    def _begin(self) -> tuple[int, int]:
        """Get through the commitments and losses of before: the border then, and the state."""
        grid, standing, end = self._g, self._g.problem.standing, self._end
        machine = grid.problem.machine
        if not standing.on:
            bound = min(end, grid.index_of(machine.min_down_seconds - standing.age_seconds))
            for slot in range(bound):
                self._rest(slot, standing.pause)
            return bound, standing.pause
        losses = [item for item in self._solver._first_loss if item[0] < end]
        for slot, kind in losses:
            self._take(slot, kind)
        bound = grid.index_of(machine.min_up_seconds - standing.age_seconds)
        bound = max(len(losses), min(bound, grid.next_blocked[0], end))
        done_from = end if self._done_from is None else self._done_from
        what = self._bound(0.0, len(losses), bound, done_from)[1]
        until = what if what >= 0 else _OVER - what
        for slot in range(len(losses), until):
            self._take(slot, grid.plain[slot])
        return until, _ON if what >= 0 else DONE

    def _step_on(self, slot: int) -> tuple[int, int]:
        what = self._do_on[slot]
        if what == DONE:
            return slot, DONE
        if what == _STAY:
            self._take(slot, self._g.plain[slot])
            return slot + 1, _ON
        pause = what
        down = min(self._g.down_end[slot], self._end)
        for resting in range(slot, down):
            self._rest(resting, pause)
        return down, pause

    def _step_off(self, slot: int, pause: int) -> tuple[int, int]:
        what = self._do_off[pause][slot]
        if what == DONE:
            return slot, DONE
        if what == _DEEPER:
            return slot, pause + 1
        if what == _STAY:
            self._rest(slot, pause)
            return slot + 1, pause
        self._take(slot, self._g.start[pause][slot])
        through = slot + 1
        for further, kind in self._g.more[pause].get(slot, ()):
            if further < self._end:
                self._take(further, kind)
                through = further + 1
        until = what if what >= 0 else _OVER - what
        for committed in range(through, until):
            self._take(committed, self._g.plain[committed])
        return until, _ON if what >= 0 else DONE

    def _take(self, slot: int, kind: int) -> None:
        grid, envelope = self._g, self._envelopes[kind]
        price, hours = grid.price[slot], grid.hours[slot]
        best = bisect_left(envelope.prices, price)
        self._out.choices[slot] = envelope.levels[best]
        self._out.costs[slot] = price * envelope.kilowatts[best] * hours
        self._out.works[slot] = envelope.rates[best] * hours

    def _rest(self, slot: int, pause: int) -> None:
        self._out.choices[slot] = off(pause)
        idle = self._solver._idle[pause]
        self._out.costs[slot] = self._g.price[slot] * idle * self._g.hours[slot]
