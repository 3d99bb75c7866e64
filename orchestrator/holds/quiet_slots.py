"""Quiet hours and known holds as the planner sees them: blocked and capped slots. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.quiet_hours import Quiet
from orchestrator.planning.problem import Slot
from orchestrator.tariff.when import QUARTER_MINUTES

_QUARTER = timedelta(minutes=QUARTER_MINUTES)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def quiet_slots(quiet: Quiet, slots: Sequence[Slot], *, may_limit: bool) -> tuple[Slot, ...]:
    """The slots, cut where quiet times begin and end, with what these ask for.

    Args:
        may_limit: whether a cap can be obeyed; where it cannot, a capped run runs.
    """
    if not quiet.times:
        return tuple(slots)
    found: list[Slot] = []
    for slot in slots:
        for begin, end in _pieces(slot):
            piece = _quieted(quiet, slot, begin, end, may_limit=may_limit)
            last = found[-1] if found and found[-1].start >= slot.start else None
            if last and (last.cap_watts, last.blocked) == (piece.cap_watts, piece.blocked):
                found[-1] = _between(piece, last.start, piece.end)
            else:
                found.append(piece)
    return tuple(found)


def held_slots(holds: Iterable[Hold], slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """The slots with nothing allowed until the holds that know their end have ended.

    The plan's own hold and quiet hours, which come and go by themselves, do not count.
    """
    own = (Reason.TARIFF, Reason.QUIET_HOURS)
    ends = [
        hold.until
        for hold in holds
        if hold.until is not None
        and hold.reason not in own
        and hold.effect in (Effect.PAUSE, Effect.RELEASE)
    ]
    end = max(ends, default=None)
    if end is None:
        return tuple(slots)
    found: list[Slot] = []
    for slot in slots:
        edges = [slot.start, *([end] if slot.start < end < slot.end else []), slot.end]
        for begin, until in itertools.pairwise(edges):
            piece = _between(slot, begin, until)
            found.append(_blocked(piece) if begin < end else piece)
    return tuple(found)


def _pieces(slot: Slot) -> Iterable[tuple[datetime, datetime]]:
    here = slot.start
    while here < slot.end:
        border = min(slot.end, here - (here - _EPOCH) % _QUARTER + _QUARTER)
        yield here, border
        here = border


def _quieted(quiet: Quiet, slot: Slot, begin: datetime, end: datetime, *, may_limit: bool) -> Slot:
    cap, blocked = slot.cap_watts, slot.blocked
    for time in quiet.times:
        if not quiet.holds(time, begin):
            continue
        if time.effect is Effect.CAP:
            if may_limit and time.cap_watts is not None:
                cap = time.cap_watts if cap is None else min(cap, time.cap_watts)
        else:
            blocked = True
    return Slot(begin, end, slot.price, slot.known, cap, blocked)


def _between(slot: Slot, begin: datetime, end: datetime) -> Slot:
    return Slot(begin, end, slot.price, slot.known, slot.cap_watts, slot.blocked)


def _blocked(slot: Slot) -> Slot:
    return Slot(slot.start, slot.end, slot.price, slot.known, slot.cap_watts, blocked=True)
