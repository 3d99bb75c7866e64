"""Missing: a run whose checkpoints are all gone is not started over before a person has said so.

A disk that is not mounted looks like a run that never saved; weeks would be trained again, and
onto the wrong disk.
"""

from __future__ import annotations

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.clock import Clock
from orchestrator.mirroring import Journal
from orchestrator.paths import Paths
from orchestrator.store import Store
from trainer.checkpoint import catalog, slots

#: marks the holds that are ours; ``homerun resume`` lifts them
SOURCE = "checkpoints"
#: the total of those saves that a rollback to the very beginning has made worthless
UNDONE = "checkpoints_undone"


class Missing:
    """Knows which runs have saved before, and asks. Callable from any thread."""

    def __init__(self, store: Store, paths: Paths, clock: Clock, journal: Journal) -> None:
        self._store = store
        self._paths = paths
        self._clock = clock
        self._journal = journal
        self._asked: set[str] = set()
        self._agreed: set[str] = set()

    def begin(self) -> None:
        """Once, at the daemon's start: whether holds of ours are still needed shows again."""
        now = self._clock.now()
        with self._store.transaction() as tx:
            ours = [hold.id for hold in tx.holds.active(now) if hold.source == SOURCE]
            tx.holds.end(ours, now)

    def is_lost(self, run: str) -> bool:
        """Whether it has saved before, nothing of that is left, and nobody agreed to that."""
        run_dir = self._paths.run(run)
        if run in self._agreed or catalog.generations(run_dir) or slots.whole(run_dir):
            return False
        return self.ever_saved(run)

    def ever_saved(self, run: str) -> bool:
        """Whether the store knows of a checkpoint, now or once, that no rollback has undone."""
        with self._store.transaction() as tx:
            totals = tx.counters.all().get(run, {})
            saved = totals.get("checkpoints", 0.0) > totals.get(UNDONE, 0.0)
            return saved or bool(tx.checkpoints.of(run))

    def may_start_over(self, run: str) -> bool:
        """Whether the run may begin as it is; else a hold asks a person, who lifts it."""
        if not self.is_lost(run):
            return True
        if run in self._asked and not self._holds(run):
            self._agreed.add(run)
            self._journal(
                "starts_over", "As you said, training starts over.", severity="warning", run=run
            )
            return True
        self._ask(run)
        return False

    def agreed(self, run: str) -> bool:
        """Whether a person has let it start over."""
        return run in self._agreed

    def look(self) -> None:
        """End the holds of runs whose checkpoints are there again."""
        for run in list(self._asked):
            ours = self._holds(run)
            if ours and not self.is_lost(run):
                with self._store.transaction() as tx:
                    tx.holds.end(ours, self._clock.now())
                self._asked.discard(run)
                self._journal("hold_ended", "The checkpoints are there again.", run=run)

    def _ask(self, run: str) -> None:
        self._asked.add(run)
        if self._holds(run):
            return
        place = catalog.checkpoints_dir(self._paths.run(run))
        hold = Hold(
            reason=Reason.DISK,
            effect=Effect.RELEASE,
            source=SOURCE,
            since=self._clock.now(),
            run=run,
            detail=f"checkpoints of {run} were saved and no good one is left in {place}: mount "
            f"their disk, or homerun checkpoints restore {run} --from URL; homerun resume starts "
            "over at step 0",
        )
        with self._store.transaction() as tx:
            tx.holds.add(hold)
        self._journal("hold_started", f"Held by disk: {hold.detail}.", severity="error", run=run)

    def _holds(self, run: str) -> list[int]:
        with self._store.transaction() as tx:
            active = tx.holds.active(self._clock.now())
        return [hold.id for hold in active if hold.source == SOURCE and hold.run == run]
