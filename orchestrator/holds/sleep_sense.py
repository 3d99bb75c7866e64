"""Announced sleep and shutdown as a sense: they wait until the trainer has saved and left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from orchestrator.domain import Effect, Hold
from orchestrator.holds.senses import Moment
from orchestrator.holds.sleep_watch import Machine, Watch, advance
from orchestrator.home.clock import Clock
from orchestrator.home.logind import Logind


class Journal(Protocol):
    """Writes one line into the journal."""

    def __call__(
        self, kind: str, message: str, *, severity: str = "info", run: str | None = None
    ) -> None: ...


class SleepSense:
    """Holds the run from the announcement until it is over; logind is let go in between."""

    def __init__(
        self,
        logind: Logind,
        clock: Clock,
        *,
        trainer_lives: Callable[[], bool],
        journal: Journal,
    ) -> None:
        self._logind = logind
        self._clock = clock
        self._trainer_lives = trainer_lives
        self._journal = journal
        self._watch = Watch()
        self._held: Hold | None = None

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        machine = Machine(moment.monotonic_seconds, self._clock.asleep(), self._trainer_lives())
        watch, asked = advance(self._watch, self._logind.state(), machine)
        if asked.let_go is not None:
            self._logind.let_go(asked.let_go)
        self._watch = watch
        if asked.entry is not None:
            entry = asked.entry
            self._journal(entry.kind, entry.message, severity=entry.severity, run=moment.run)
        if asked.reason is None:
            self._held = None
            return ()
        if self._held is None or self._held.reason is not asked.reason:
            self._held = Hold(
                asked.reason, Effect.RELEASE, "logind", moment.now, detail=asked.detail
            )
        return (self._held,)
