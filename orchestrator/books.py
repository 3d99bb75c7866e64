"""The books: totals, curve points and heartbeats on their way into the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from orchestrator.domain import Hold, Power, Sample
from orchestrator.ledger.keeper import LedgerKeeper, NoPrices
from orchestrator.step_times import totals_of
from orchestrator.store import OWNER, Store

#: a shorter time of computing says nothing about how often a run fails
_TELLING_SECONDS = 6 * 3600.0


class Books:
    """Collects in memory and writes in one transaction, so that a quick run costs few syncs.

    The supervisor flushes every few seconds and before everything that must not be told without
    its figures: a committed checkpoint, the end of an attempt, the end of the daemon.
    """

    def __init__(
        self,
        store: Store,
        boot_id: str,
        ledger: LedgerKeeper | None = None,
        uptime: Callable[[], float | None] = lambda: None,
    ) -> None:
        """``uptime``: seconds since the machine booted, its sleep included."""
        self._store = store
        self._ledger = ledger or LedgerKeeper(NoPrices())
        self._boot_id = boot_id
        self._uptime = uptime
        self._totals = store_totals(store)
        self._written = store_totals(store)
        self._pending: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        self._reached: dict[tuple[str, int], tuple[int, int]] = {}

    def count(self, run: str, name: str, delta: float = 1.0) -> None:
        """Add to a total that never falls."""
        if name == "tokens":
            self._ledger.tokens(run, round(delta))
        self._pending[run][name] += delta
        totals = self._totals.setdefault(run, {})
        totals[name] = totals.get(name, 0.0) + delta

    def total(self, run: str, name: str) -> float:
        """The total so far, what is not yet written included."""
        return self._totals.get(run, {}).get(name, 0.0)

    def mtbf_seconds(self, run: str) -> float:
        """Computing time between the run's failures so far; 0 while there is too little of it."""
        seconds = self.total(run, "active_seconds")
        return seconds / (self.total(run, "restarts") + 1) if seconds >= _TELLING_SECONDS else 0.0

    def totals(self) -> dict[str, dict[str, float]]:
        """All totals, what is not yet written included; as a copy."""
        return {run: dict(names) for run, names in self._totals.items()}

    def written_totals(self) -> dict[str, dict[str, float]]:
        """The totals that survive even if the daemon is killed now; they never fall."""
        return self._written

    def energy(self, run: str | None, power: Power, now: datetime, seconds: float) -> None:
        """Energy of the last ``seconds`` at ``power``, for a run or for none of them.

        An unknown power adds nothing.
        """
        if power.watts is None or seconds <= 0:
            return
        self._ledger.add(run, power, now, seconds)
        if run is None:
            return
        self.count(run, "energy_joules", power.watts * seconds)
        if not power.measured:
            self.count(run, "energy_estimated_joules", power.watts * seconds)

    def held(self, run: str, holds: Iterable[Hold], seconds: float) -> None:
        """The last ``seconds`` passed under ``holds``, those of other runs among them."""
        for reason in {hold.reason for hold in holds if hold.run in (None, run)}:
            self.count(run, f"held_seconds_{reason.value}", max(0.0, seconds))

    def step(self, run: str, seconds: float, phases: Mapping[str, float]) -> None:
        """A step took so long in all, and so long in each phase."""
        for name, delta in totals_of(seconds).items():
            self.count(run, name, delta)
        for phase, share in phases.items():
            self.phase(run, phase, share)

    def phase(self, run: str, phase: str, seconds: float) -> None:
        """The trainer spent ``seconds`` on data, compute, optimizer, eval or checkpoint."""
        self.count(run, f"phase_seconds_{phase}", max(0.0, seconds))

    def sample(self, run: str, sample: Sample) -> None:
        """Add a point to the learning curve."""
        self._samples[run].append(sample)

    def reached(self, run: str, attempt: int, first_step: int, last_step: int) -> None:
        """How far an attempt has come."""
        self._reached[run, attempt] = (first_step, last_step)

    def flush(self, now: datetime, *, last: bool = False) -> None:
        """Write everything down, the daemon's heartbeat with it.

        The ledger takes whole minutes, so that it stays small; with ``last``, what there is.
        """
        with self._store.transaction() as tx:
            for run, names in self._pending.items():
                tx.counters.add(run, dict(names))
            for run, samples in self._samples.items():
                tx.samples.add(run, samples)
            for (run, attempt), steps in self._reached.items():
                tx.attempts.reached(run, attempt, *steps)
            rows = self._ledger.write(tx, now, everything=last)
            tx.heartbeat.beat(now, self._boot_id, self._uptime())
        self._ledger.written(rows)
        if self._pending:
            self._written = self.totals()
        self._pending.clear()
        self._samples.clear()
        self._reached.clear()


def store_totals(store: Store) -> dict[str, dict[str, float]]:
    """The totals of the runs as the last daemon left them."""
    with store.transaction() as tx:
        return {run: names for run, names in tx.counters.all().items() if run != OWNER}
