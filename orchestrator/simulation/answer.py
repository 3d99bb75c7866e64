"""What came of a simulated month, against simple rules and perfect foresight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.domain import Reason, to_json
from orchestrator.errors import Invalid
from orchestrator.planning import heuristics, schedule
from orchestrator.planning.plan import Plan
from orchestrator.planning.problem import Machine, Problem, Slot, Standing, until
from orchestrator.simulation import events
from orchestrator.simulation.events import Span
from orchestrator.simulation.market import FilePrices, FixedPrices
from orchestrator.simulation.month import Diary, Month
from orchestrator.simulation.wish import Wish


@dataclass(frozen=True)
class Answer:
    """One simulated month. Costs are None where the work was not done by that rule in time."""

    wish: Wish
    currency: str
    start: datetime
    deadline: datetime
    diary: Diary
    always_on: Plan
    static_cap: Plan | None
    foresight: Plan
    missing_price_hours: float

    @property
    def deadline_met(self) -> bool:
        """Whether the run was finished by the deadline, to the second."""
        finish = self.diary.finish
        return finish is not None and finish <= self.deadline + timedelta(seconds=1)

    @property
    def saved_ratio(self) -> float | None:
        """Of what always-on would have cost; None when one of the two was not finished."""
        if self.diary.finish is None or self.always_on.finish is None or self.always_on.cost == 0:
            return None
        return 1.0 - self.diary.cost / self.always_on.cost

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; nothing in it depends on the machine or its speed."""
        diary = self.diary
        plain = {
            "cost": _money(diary.cost),
            "always_on_cost": _money(self.always_on.cost) if self.always_on.finish else None,
            "static_cap_cost": _money(self.static_cap.cost) if self.static_cap else None,
            "foresight_cost": _money(self.foresight.cost) if self.foresight.finish else None,
            "saved_ratio": None if self.saved_ratio is None else round(self.saved_ratio, 6),
            "currency": self.currency,
            "start": self.start,
            "deadline": self.deadline,
            "deadline_met": self.deadline_met,
            "finish": diary.finish,
            "gap_ratio": None if self.foresight.gap is None else round(self.foresight.gap, 9),
            "worst_plan_gap_ratio": round(diary.worst_gap, 9),
            "starts": diary.starts,
            "plans": diary.plans,
            "outages": diary.outages,
            "energy_kwh": round(diary.kilowatt_hours, 6),
            "work_hours": self.wish.work_hours,
            "work_done_hours": round(diary.work_done_hours, 6),
            "work_lost_seconds": round(diary.work_lost_seconds, 3),
            "hold_hours": {
                name: round(diary.hold_hours.get(name, 0.0), 6)
                for name in (*(reason.value for reason in Reason), "outage")
            },
            "missing_price_hours": round(self.missing_price_hours, 6),
            "power": "simulated",
        }
        answer = to_json(plain)
        assert isinstance(answer, dict), "a dict stays one"
        return answer


def simulate(wish: Wish, prices: FilePrices | FixedPrices, start: datetime) -> Answer:
    """Live through the month.

    Raises:
        Invalid: the file has no prices at the start.
    """
    deadline, end = wish.deadline(start), max(wish.end(start), wish.deadline(start))
    if isinstance(prices, FilePrices) and not prices.first <= start < prices.last:
        raise Invalid(
            f"no prices at {start:%F %H:%M} UTC; they reach from {prices.first:%F} to "
            f"{prices.last:%F}",
            "give another --start, or another --prices",
        )
    truth = prices.truth(start, end + timedelta(days=1))
    outages = events.outages(wish.outages, start, end, prices.zone, wish.seed)
    games = events.games(wish.games, start, end, prices.zone, wish.seed)
    diary = Month(wish, start, prices, truth, outages, games).run()
    machine = wish.machine
    rules = _Rules(machine, wish.work_hours, _blocked(truth, [*outages, *games]), deadline)
    return Answer(
        wish=wish,
        currency=prices.currency,
        start=start,
        deadline=deadline,
        diary=diary,
        always_on=rules.always_on(),
        static_cap=rules.static_cap(),
        foresight=rules.foresight(),
        missing_price_hours=prices.missing_hours(start, diary.finish or end),
    )


@dataclass(frozen=True)
class _Rules:
    """What others would have paid in the same month: same prices, outages and games, no losses."""

    machine: Machine
    work_hours: float
    slots: tuple[Slot, ...]
    deadline: datetime

    def always_on(self) -> Plan:
        return heuristics.always_on(self._problem(self.slots))

    def static_cap(self) -> Plan | None:
        return heuristics.constant_cap(self._problem(until(self.slots, self.deadline)))

    def foresight(self) -> Plan:
        return schedule.by_deadline(self._problem(until(self.slots, self.deadline)))

    def _problem(self, slots: tuple[Slot, ...]) -> Problem:
        return Problem(slots, self.machine, self.work_hours, Standing(on=True))


def _blocked(slots: Sequence[Slot], spans: Sequence[Span]) -> tuple[Slot, ...]:
    """The slots, cut at the spans' borders, with nothing allowed inside of the spans."""
    edges = sorted({edge for span in spans for edge in (span.start, span.end)})
    found = []
    for slot in slots:
        inner = [edge for edge in edges if slot.start < edge < slot.end]
        for begin, end in itertools.pairwise([slot.start, *inner, slot.end]):
            inside = any(span.start <= begin < span.end for span in spans)
            found.append(Slot(begin, end, slot.price, slot.known, slot.cap_watts, inside))
    return tuple(found)


def _money(amount: float) -> float:
    return round(amount, 6)
