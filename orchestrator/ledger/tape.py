"""What the meter said since the last row: one stretch a minute, in memory."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from orchestrator.domain import Power
from orchestrator.ledger.entry import Stretch

#: two looks at the same moment differ by so much at most, unless somebody set the clock
_SEAM = timedelta(seconds=1)


class Tape:
    """Stretches in the order in which they were measured. Not thread-safe.

    Borders of price slots lie on whole minutes, so a stretch that never goes beyond its minute
    (but for the tick in which the minute ends) is cut at them without blurring the power.
    """

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []
        #: what whole microjoules leave over goes into the next reading
        self._rest = 0.0
        #: trained, but the stretch that they belong to is written down already
        self._tokens: dict[str, int] = {}

    def add(self, run: str | None, power: Power, now: datetime, seconds: float) -> None:
        """The last ``seconds`` at ``power``; an unknown power leaves a gap, not a zero."""
        if power.watts is None or seconds <= 0:
            return
        exact = power.watts * seconds * 1e6 + self._rest
        microjoules = round(exact)
        self._rest = exact - microjoules
        start, last = now - timedelta(seconds=seconds), self._last
        if last is not None and abs(start - last.end) <= _SEAM and last.end < now:
            start = last.end
        piece = Stretch(run, start, now, microjoules, power.source, power.measured)
        if last is not None and _joins(last, piece):
            self._stretches[-1] = dataclasses.replace(
                last, end=now, microjoules=last.microjoules + microjoules
            )
        else:
            self._stretches.append(piece)
        for waiting, count in self._tokens.items():
            if waiting != run:
                self._stretches.append(dataclasses.replace(piece, run=waiting, microjoules=0))
            self._credit(waiting, count)
        self._tokens.clear()

    def tokens(self, run: str, count: int) -> None:
        """So many were trained; they count in the present stretch of the run, or its next one."""
        if not self._credit(run, count):
            self._tokens[run] = self._tokens.get(run, 0) + count

    def _credit(self, run: str, count: int) -> bool:
        for index in range(len(self._stretches) - 1, -1, -1):
            stretch = self._stretches[index]
            if stretch.run == run:
                total = stretch.tokens + count
                self._stretches[index] = dataclasses.replace(stretch, tokens=total)
                return True
        return False

    def complete(self, now: datetime, *, everything: bool = False) -> list[Stretch]:
        """The stretches that nothing is added to any more; with ``everything``, all of them."""
        last = self._last
        if last is None or everything or _minute(last.start) != _minute(now):
            return list(self._stretches)
        return self._stretches[:-1]

    def drop(self, count: int) -> None:
        """The first ``count`` stretches are written down."""
        del self._stretches[:count]

    @property
    def _last(self) -> Stretch | None:
        return self._stretches[-1] if self._stretches else None


def _joins(last: Stretch, piece: Stretch) -> bool:
    same = (last.run, last.source, last.measured) == (piece.run, piece.source, piece.measured)
    return same and last.end == piece.start and _minute(last.start) == _minute(piece.start)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
