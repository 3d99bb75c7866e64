"""The registrar: whose turn it is, what holds, and how often it failed, as the store tells."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from orchestrator.decide import fruitless_failures
from orchestrator.domain import Attempt, Hold, Reason, Register, RunState
from orchestrator.store import Store

#: what the snapshot shows of the journal
_NEWEST_ENTRIES = 8


class Registrar:
    """The supervisor's questions to the store, each one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, now: datetime, *, gpu_is_free: bool) -> Register:
        """How things stand; the next of the queue becomes active when the GPU is free."""
        with self._store.transaction() as tx:
            run = tx.runs.active()
            if run is None and gpu_is_free and (run := tx.runs.next_queued()):
                tx.runs.set_state(run.name, RunState.ACTIVE, now)
                tx.journal.write(
                    "run_activated", f"It is the turn of {run.name}.", now, run=run.name
                )
                run = dataclasses.replace(run, state=RunState.ACTIVE)
            return Register(
                run=run,
                queue=tuple(item for item in tx.runs.all() if item.state is RunState.QUEUED),
                holds=tuple(tx.holds.active(now)),
                journal=tuple(tx.journal.newest(_NEWEST_ENTRIES)),
            )

    def end_expired_holds(self, now: datetime) -> None:
        """Write down that holds have ended whose time is over."""
        with self._store.transaction() as tx:
            expired = tx.holds.expired(now)
            tx.holds.end([hold.id for hold in expired], now)
            for hold in expired:
                tx.journal.write(
                    "hold_ended", f"The hold '{hold.reason}' ended on time.", now, run=hold.run
                )

    def write_hold(self, hold: Hold) -> None:
        """Store a hold that the supervisor itself decided on."""
        with self._store.transaction() as tx:
            tx.holds.add(hold)
            tx.journal.write(
                "hold_started",
                f"Held by {hold.reason}: {hold.detail}.",
                hold.since,
                severity="error" if hold.reason is Reason.CRASH_LOOP else "info",
                run=hold.run,
            )

    def fruitless(self, run: str) -> list[Attempt]:
        """The row of failures without progress since a person last said resume."""
        with self._store.transaction() as tx:
            forgiven = tx.holds.last_ended(Reason.CRASH_LOOP, run)
            return fruitless_failures(tx.attempts.of(run), forgiven)
