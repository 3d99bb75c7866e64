"""The registrar: whose turn it is, what holds, and how often it failed, as the store tells."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from orchestrator.decide import fruitless_failures
from orchestrator.domain import Attempt, Hold, Reason, Register, Run, RunState
from orchestrator.store import Store, Transaction

#: what the snapshot shows of the journal
_NEWEST_ENTRIES = 8
#: a run's total that is the number of the last attempt that was forgiven
_FORGIVEN = "forgiven_attempts"


class Registrar:
    """The supervisor's questions to the store.

    Only the daemon writes to its store, and the supervisor hears of every write. So the store is
    read again only when something may have changed: a tick without news costs nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: Register | None = None
        self._gpu_was_free = False

    def forget(self) -> None:
        """Something was written: ask again."""
        self._known = None

    def read(self, now: datetime, *, gpu_is_free: bool) -> Register:
        """How things stand.

        Holds whose time is over end; the next of the queue becomes active on a free GPU.
        """
        if (
            self._known is None
            or gpu_is_free != self._gpu_was_free
            or _has_expired(self._known, now)
        ):
            self._known = self._read(now, gpu_is_free=gpu_is_free)
            self._gpu_was_free = gpu_is_free
        return self._known

    def _read(self, now: datetime, *, gpu_is_free: bool) -> Register:
        with self._store.transaction() as tx:
            _end_expired_holds(tx, now)
            run = tx.runs.active() or (_activate_next(tx, now) if gpu_is_free else None)
            return Register(
                run=run,
                queue=tuple(item for item in tx.runs.all() if item.state is RunState.QUEUED),
                holds=tuple(tx.holds.active(now)),
                failures=tuple(_fruitless(tx, run.name)) if run else (),
                journal=tuple(tx.journal.newest(_NEWEST_ENTRIES)),
            )

    def fruitless(self, run: str) -> list[Attempt]:
        """The row of failures without progress since a person last said resume."""
        with self._store.transaction() as tx:
            return _fruitless(tx, run)

    def write_hold(self, hold: Hold) -> None:
        """Store a hold that the supervisor itself decided on."""
        self.forget()
        with self._store.transaction() as tx:
            tx.holds.add(hold)
            tx.journal.write(
                "hold_started",
                f"Held by {hold.reason}: {hold.detail}.",
                hold.since,
                severity="error" if hold.reason is Reason.CRASH_LOOP else "info",
                run=hold.run,
            )


def _has_expired(register: Register, now: datetime) -> bool:
    return any(hold.until is not None and hold.until <= now for hold in register.holds)


def _end_expired_holds(tx: Transaction, now: datetime) -> None:
    expired = tx.holds.expired(now)
    tx.holds.end([hold.id for hold in expired], now)
    for hold in expired:
        tx.journal.write(
            "hold_ended", f"The hold '{hold.reason}' ended on time.", now, run=hold.run
        )


def _activate_next(tx: Transaction, now: datetime) -> Run | None:
    run = tx.runs.next_queued()
    if run is None:
        return None
    tx.runs.set_state(run.name, RunState.ACTIVE, now)
    tx.journal.write("run_activated", f"It is the turn of {run.name}.", now, run=run.name)
    return dataclasses.replace(run, state=RunState.ACTIVE)


def _fruitless(tx: Transaction, run: str) -> list[Attempt]:
    return fruitless_failures(tx.attempts.of(run), _forgiven(tx, run))


def forgive(tx: Transaction, run: str) -> None:
    """A person said resume: the attempts so far count as failures no more."""
    last = max((attempt.number for attempt in tx.attempts.of(run)), default=0)
    tx.counters.add(run, {_FORGIVEN: float(last - _forgiven(tx, run))})


def _forgiven(tx: Transaction, run: str) -> int:
    return round(tx.counters.all().get(run, {}).get(_FORGIVEN, 0.0))
