"""The courier: carries news from the journal to the messenger, once each, also over restarts."""

from __future__ import annotations

import logging

from orchestrator.domain import JournalEntry, Snapshot
from orchestrator.home.clock import Clock
from orchestrator.home.messenger import Messenger, MessengerError
from orchestrator.notices import Budget, Notice, merged, notice_of
from orchestrator.store import OWNER, Store

log = logging.getLogger(__name__)

#: a counter, because it only grows: the id of the last journal entry that was dealt with
_CURSOR = "notified_entries"
_PAGE = 500
#: failed deliveries are tried again after so long, doubled each time
_FIRST_WAIT_SECONDS = 30.0
_LONGEST_WAIT_SECONDS = 3600.0


class Courier:
    """``deliver`` is called every few seconds by the calendar, in a thread that may wait."""

    def __init__(self, store: Store, clock: Clock, messenger: Messenger, budget: Budget) -> None:
        self._store = store
        self._clock = clock
        self._messenger = messenger
        self.budget = budget
        self._not_before = clock.monotonic()
        self._failures = 0
        #: messages by how they went: sent, failed
        self.totals = {"sent": 0, "failed": 0}

    def begin(self) -> None:
        """What happened before homerun could notify is no news; called once at the start."""
        with self._store.transaction() as tx:
            known = tx.counters.all().get(OWNER, {})
            newest = tx.journal.newest(1)
            if _CURSOR not in known:
                tx.counters.add(OWNER, {_CURSOR: float(newest[0].id) if newest else 0.0})

    def deliver(self) -> None:
        """Send what is new as one message. What could not or may not be sent yet stays new."""
        if self._clock.monotonic() < self._not_before:
            return
        entries, cursor = self._news()
        if not entries:
            return
        notices = [notice for entry in entries if (notice := notice_of(entry)) is not None]
        if notices and not (self.budget.allows(self._clock.now()) and self._sent(merged(notices))):
            return
        with self._store.transaction() as tx:
            tx.counters.add(OWNER, {_CURSOR: float(entries[-1].id) - cursor})

    def report(self, snapshot: Snapshot) -> None:
        """The daily message: how it goes, in the words of the page."""
        self._sent(report_of(snapshot))

    def _news(self) -> tuple[list[JournalEntry], float]:
        with self._store.transaction() as tx:
            cursor = tx.counters.all().get(OWNER, {}).get(_CURSOR, 0.0)
            return tx.journal.after(int(cursor), _PAGE), cursor

    def _sent(self, notice: Notice) -> bool:
        try:
            self._messenger.send(notice)
        except MessengerError as error:
            self.totals["failed"] += 1
            self._failures += 1
            wait = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** (self._failures - 1))
            self._not_before = self._clock.monotonic() + wait
            log.warning("a message could not be sent (%s); tried again in %.0f s", error, wait)
            return False
        self.totals["sent"] += 1
        self._failures = 0
        self.budget.spend(self._clock.now())
        return True


def report_of(snapshot: Snapshot) -> Notice:
    """One sentence how it is, then the figures that a person asks for in the morning."""
    run = snapshot.run
    lines = [snapshot.headline]
    if run is not None:
        lines.append(f"{run.energy_joules / 3.6e6:.1f} kWh so far, {run.restarts} restarts.")
        if run.bits_per_byte is not None:
            lines.append(f"Validation: {run.bits_per_byte:.4f} bits per byte.")
        if run.checkpoint is not None:
            lines.append(f"Last checkpoint: step {run.checkpoint.step:,}.")
    title = f"{run.name}: {run.progress:.0%}" if run is not None else "homerun is idle"
    return Notice(title, "\n".join(lines))
