"""Somebody sets the wall clock, or puts the machine to sleep, while the daemon runs.

Back-off, watchdogs, dwell and totals are measured by seconds that never go back, so neither
matters to them. What people said by the wall clock stays as they said it: "until 18:00" ends when
the clock shows 18:00. "For two hours" means two hours, so its end is moved with the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.durations import format_seconds
from orchestrator.home.clock import Clock
from orchestrator.store import Store

#: a clock that is kept right by the network moves by less between two looks
_NOTICEABLE_SECONDS = 5.0


@dataclass(frozen=True)
class Reading:
    """All clocks at one moment."""

    now: datetime
    monotonic_seconds: float
    #: what the machine has slept since it booted, which monotonic seconds leave out
    asleep_seconds: float


@dataclass(frozen=True)
class Change:
    """What happened to the clocks between two readings, apart from time passing."""

    #: forward, or back when negative; 0: nobody set it
    set_by_seconds: float
    slept_seconds: float


def compare(before: Reading, after: Reading) -> Change:
    """How the wall clock moved against the time that passed. Pure."""
    slept = after.asleep_seconds - before.asleep_seconds
    passed = after.monotonic_seconds - before.monotonic_seconds + slept
    set_by = (after.now - before.now).total_seconds() - passed
    return Change(
        set_by if abs(set_by) >= _NOTICEABLE_SECONDS else 0.0,
        slept if slept >= _NOTICEABLE_SECONDS else 0.0,
    )


def read(clock: Clock) -> Reading:
    """All clocks at once: a process that was stopped between two of them looks again."""
    while True:
        asleep, monotonic = clock.asleep(), clock.monotonic()
        now = clock.now()
        if clock.monotonic() - monotonic < 1.0 and clock.asleep() - asleep < 1.0:
            return Reading(now, monotonic, asleep)


class Timekeeper:
    """Looks at each tick. Belongs to the supervisor's thread, but for ``lasts``."""

    def __init__(
        self, store: Store, clock: Clock, count: Callable[[str, str, float], None]
    ) -> None:
        """``count`` adds to a run's total."""
        self._store = store
        self._count = count
        self._clock = clock
        self._last = read(clock)
        #: holds for so long, not until a time
        self._spans: set[int] = set()
        #: called after the wall clock was set: a calendar counts its next times anew
        self.on_set: Callable[[], None] = lambda: None

    def lasts(self, hold: int) -> None:
        """That hold, by its id, was asked for as a span of time."""
        self._spans.add(hold)

    def look(self, run: str | None) -> bool:
        """Take in what happened to the clocks; whether anything was written down."""
        before, self._last = self._last, read(self._clock)
        change = compare(before, self._last)
        if change.slept_seconds:
            self._slept(run, before.now, change.slept_seconds)
        if change.set_by_seconds:
            self._was_set(change.set_by_seconds)
        return bool(change.slept_seconds or change.set_by_seconds)

    def _slept(self, run: str | None, since: datetime, seconds: float) -> None:
        """An outage of which nothing is lost: memory was kept."""
        with self._store.transaction() as tx:
            tx.journal.write(
                "suspended",
                f"The machine slept for {format_seconds(round(seconds))}, since {since:%F %T} UTC; "
                "nothing was lost, and the run finishes so much later.",
                self._last.now,
                severity="warning",
                run=run,
                data={"since": since.isoformat(), "seconds": seconds},
            )
        if run is not None:
            self._count(run, "outages", 1.0)
            self._count(run, "outage_seconds", seconds)

    def _was_set(self, seconds: float) -> None:
        way = "forward" if seconds > 0 else "back"
        with self._store.transaction() as tx:
            for hold in tx.holds.unended():
                if hold.id in self._spans and hold.until is not None:
                    tx.holds.move(hold.id, hold.until + timedelta(seconds=seconds))
            tx.journal.write(
                "clock_set",
                f"The clock was set {way} by {format_seconds(round(abs(seconds)))}; times in the "
                "journal and the ledger before and after this do not fit together.",
                self._last.now,
                severity="warning",
                data={"seconds": seconds},
            )
        self.on_set()
