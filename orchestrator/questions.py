"""What readers may ask of the daemon, answered on their own thread; and things found by name."""

from __future__ import annotations

import dataclasses
import difflib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.domain import (
    Attempt,
    Checkpoint,
    JournalEntry,
    Run,
    Sample,
    ShelvedCheckpoint,
    Snapshot,
)
from orchestrator.errors import NotFound
from orchestrator.keeper import Keeper
from orchestrator.ledger.keeper import everything
from orchestrator.ledger.summary import By, EnergySummary, summarize
from orchestrator.piloting.navigator import Navigator
from orchestrator.piloting.schedule_report import CurveReport, ScheduleReport
from orchestrator.settings import config as configuration
from orchestrator.store import Store, Transaction
from orchestrator.supervisor import Supervisor
from orchestrator.surroundings import Lookout, Surroundings
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.tariff.report import PricesReport
from trainer.checkpoint import catalog, retention
from trainer.checkpoint.catalog import Entry, Verdict
from trainer.checkpoint.retention import Choice


class Questions:
    """The reading half of the web side's backend; every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        config: configuration.Config,
        prices: PriceKeeper,
        keeper: Keeper,
        lookout: Lookout,
        navigator: Navigator,
    ) -> None:
        self._store = store
        self._prices = prices
        self._supervisor = supervisor
        self.config = config
        self._keeper = keeper
        self._lookout = lookout
        self._navigator = navigator

    def snapshot(self) -> Snapshot:
        return self._supervisor.board.snapshot()

    def wait_for_change(self, seen: datetime | None, timeout_seconds: float) -> Snapshot:
        return self._supervisor.board.wait_for_change(seen, timeout_seconds)

    def runs(self) -> list[Run]:
        with self._store.transaction() as tx:
            return tx.runs.all()

    def run(self, name: str) -> Run:
        with self._store.transaction() as tx:
            return known_run(tx, name)

    def attempts(self, run: str) -> list[Attempt]:
        with self._store.transaction() as tx:
            return tx.attempts.of(known_run(tx, run).name)

    def checkpoints(self, run: str | None) -> list[ShelvedCheckpoint]:
        with self._store.transaction() as tx:
            rows = tx.checkpoints.of(known_or_current(tx, run).name)
        return [self._shelved(row) for row in rows]

    def _shelved(self, row: Checkpoint) -> ShelvedCheckpoint:
        path = catalog.checkpoints_dir(self._supervisor.paths.run(row.run)) / row.name
        read = retention.read_at(path)
        return ShelvedCheckpoint(
            **dataclasses.asdict(row),
            pinned=retention.is_pinned(path),
            verified=datetime.fromtimestamp(read, UTC) if read else None,
            mirrored=self._keeper.mirroring.has(row.run, row.name),
        )

    def verify_checkpoints(self, run: str | None, name: str | None) -> list[Verdict]:
        with self._store.transaction() as tx:
            owner = known_or_current(tx, run).name
        run_dir = self._supervisor.paths.run(owner)
        names = list(map(str, catalog.generations(run_dir)))
        if name is not None:
            names = [name] if name in names else [checkpoint_named(run_dir, name).name]
        place = catalog.checkpoints_dir(run_dir)
        verdicts = [catalog.verify(place / one) for one in names]
        # one that retention let go meanwhile is no damage
        there = set(map(str, catalog.generations(run_dir)))
        verdicts = [verdict for verdict in verdicts if verdict.ok or verdict.name in there]
        for verdict in verdicts:
            if not verdict.ok:
                self._keeper.set_aside(owner, verdict)
        return verdicts

    def plan_retention(self, run: str | None) -> list[Choice]:
        with self._store.transaction() as tx:
            name = known_or_current(tx, run).name
        return self._keeper.plan(name)

    def journal(
        self, *, after: int = 0, limit: int = 100, run: str | None = None
    ) -> list[JournalEntry]:
        with self._store.transaction() as tx:
            if run is not None:
                known_run(tx, run)
            return tx.journal.after(after, limit, run) if after else tx.journal.newest(limit, run)

    def samples(self, run: str, limit: int) -> list[Sample]:
        with self._store.transaction() as tx:
            return tx.samples.of(known_run(tx, run).name, limit)

    def scores(self, run: str) -> dict[int, float]:
        with self._store.transaction() as tx:
            return tx.samples.scores(known_run(tx, run).name)

    def log_file(self, run: str | None) -> Path:
        with self._store.transaction() as tx:
            return self._supervisor.paths.run(known_or_current(tx, run).name) / "trainer.log"

    def prices(self, hours: int) -> PricesReport:
        return self._prices.report(hours)

    def surroundings(self) -> Surroundings:
        return self._lookout.look()

    def energy(self, by: By) -> EnergySummary:
        now = self._supervisor.clock.now()
        return summarize(
            everything(self._store), by, self._prices.zone, now, self._prices.slots_between
        )

    def schedule(self, hours: int) -> ScheduleReport:
        return self._navigator.schedule(self.snapshot(), hours)

    def schedule_curve(self) -> CurveReport:
        return self._navigator.curve(self.snapshot())

    def config_view(self) -> dict[str, Any]:
        return configuration.view(self.config)


def checkpoint_named(run_dir: Path, name: str) -> Entry:
    """The whole checkpoint of that name. Raises NotFound, with the nearest name."""
    entries = catalog.list_checkpoints(run_dir)
    for entry in entries:
        if entry.name == name:
            return entry
    hint = _nearest(name, [entry.name for entry in entries])
    raise NotFound(f"no checkpoint {name!r}", hint or "homerun checkpoints list")


def known_run(tx: Transaction, name: str) -> Run:
    """The run of that name. Raises NotFound, with the nearest name."""
    run = tx.runs.get(name)
    if run is None:
        hint = _nearest(name, [item.name for item in tx.runs.all()])
        raise NotFound(f"no run {name!r}", hint or "homerun runs shows them all")
    return run


def known_or_current(tx: Transaction, name: str | None) -> Run:
    """The run of that name; None: the one that is on, or the last. Raises NotFound."""
    if name is not None:
        return known_run(tx, name)
    runs = tx.runs.all()
    if not runs:
        raise NotFound("there is no run yet", "homerun submit spec.toml")
    return runs[0]


def _nearest(wrong: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""
