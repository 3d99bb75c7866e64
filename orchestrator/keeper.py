"""The keeper: looks after the checkpoints on disk, in a thread of its own at idle priority.

After each save it reads the new checkpoint back and lets old ones go; now and then it reads all
of them again. Nothing here may keep the supervisor or a trainer waiting.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.domain import MirrorView, Run, RunState
from orchestrator.home.clock import Clock
from orchestrator.mirroring import Mirroring
from orchestrator.missing import Missing
from orchestrator.paths import Paths
from orchestrator.quarantine import set_aside
from orchestrator.settings.checkpoint_config import CheckpointConfig
from orchestrator.shelf import Shelf
from orchestrator.store import Store
from trainer.checkpoint import catalog, retention, slots
from trainer.checkpoint.catalog import Entry, Verdict
from trainer.checkpoint.priority import become_idle
from trainer.contract import spec as run_spec

log = logging.getLogger(__name__)

#: a daemon that stops waits so long for a chore under way, which any death may cut short anyway
_STOP_SECONDS = 5.0
#: how often a mirror that did not answer is asked again, and the calendar of copies looked at
_LOOK_SECONDS = 15.0
#: a trainer that died is not started again before its writer is done, or for so long
_WRITER_SECONDS = 20.0
#: reasons of saves after which no other may come soon
_LAST_ONES = ("final", "finish", "stop", "request")


@dataclass(frozen=True)
class Scrub:
    """What a reading of everything found."""

    checkpoints: int
    size_bytes: int
    damaged: tuple[Verdict, ...]
    #: could not be looked at this time, and are left alone
    unread: tuple[Verdict, ...] = ()


class Keeper(Shelf):
    """Takes requests from any thread; does one thing at a time."""

    def __init__(
        self,
        store: Store,
        paths: Paths,
        clock: Clock,
        config: CheckpointConfig,
        wake: Callable[[], None],
        count: Callable[[str, str], None],
    ) -> None:
        """``wake`` makes the supervisor read the store again, ``count`` add 1 to a run's total."""
        self._store = store
        self._paths = paths
        self._clock = clock
        self._config = config
        self.month_bytes = config.ssd_terabytes_per_month * 1e12
        self._wake = wake
        self._count = count
        self.missing = Missing(store, paths, clock, self._journal)
        self.mirroring = Mirroring(
            store, paths, clock, config, self._journal, count, self.missing.may_start_over
        )
        #: runs that may start, and those whose checkpoints are being brought back
        self._cleared: set[str] = set()
        self._absent: set[str] = set()
        #: damaged, told, and still where they were: the disk took no renaming
        self._stuck: set[tuple[str, str]] = set()
        self._busy: set[str] = set()
        #: since when a writer has been met where no trainer lives any more
        self._writing_since: dict[str, float] = {}
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="keeper", daemon=True)

    # --- requests ---------------------------------------------------------------------------

    def use(self, config: CheckpointConfig) -> None:
        """Other numbers from now on. The place of the mirror does not change."""
        self._config = config
        self.month_bytes = config.ssd_terabytes_per_month * 1e12
        self.mirroring.use(config)

    def start(self) -> None:
        """Begin to work."""
        self.missing.begin()
        self.mirroring.begin()
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def tend(self, run: str, reason: str = "") -> None:
        """A checkpoint was saved for that ``reason``, or some time has passed."""
        self._work.put(lambda: self._tend(run, at_once=reason in _LAST_ONES))

    def mirror(self, run: str) -> MirrorView | None:
        """How the run's copies in the mirror are; None when there is no mirror."""
        return self.mirroring.view(run)

    def may_start(self, run: str) -> bool:
        """Whether a trainer would find the run's checkpoints.

        Else they are being brought here, or a hold says that they are gone. Called from the
        supervisor's thread before each start; answers at once.
        """
        if run in self._absent or run in self._busy or self._waits_for_writer(run):
            return False
        if catalog.list_checkpoints(self._paths.run(run)):
            if run not in self._cleared:
                # what an earlier daemon did not come to copy
                self._work.put(lambda: self.mirroring.saved(run))
            self._cleared.add(run)
            return True
        if not self._config.mirror:
            return self.missing.may_start_over(run)
        if run in self._cleared and not self.missing.is_lost(run):
            return True
        self._absent.add(run)
        self._work.put(self._rescue_all)
        return False

    @contextlib.contextmanager
    def keeping_still(self, run: str) -> Iterator[None]:
        """No trainer starts on the run meanwhile."""
        self._busy.add(run)
        try:
            yield
        finally:
            self._busy.discard(run)

    def all_damaged(self, run: str) -> bool:
        """A trainer found no whole checkpoint; True: it should leave.

        The mirror is asked first, and then a person.
        """
        if not self._config.mirror:
            return self.missing.ever_saved(run) and not self.missing.agreed(run)
        if run not in self._cleared:
            return False
        self._cleared.discard(run)
        return True

    def relieve(self, run: str) -> None:
        """The disk is full: only the newest are worth their room."""
        self._work.put(lambda: self.retain(run, pressed=True))

    def freeable_bytes(self, run: str) -> int:
        """What ``relieve`` would give back; reads the disk."""
        policy, scores = self._wanted(run)
        plan = retention.plan_retention(self._paths.run(run), policy.under_pressure(), scores)
        return sum(choice.size_bytes for choice in plan if not choice.keep)

    def look_at_all(self) -> None:
        """Read again what was last read long ago."""
        self._work.put(lambda: self._tell(self.scrub()))

    # --- work -------------------------------------------------------------------------------

    def policy_of(self, run: Run | None) -> retention.Policy:
        """What the run's spec and the configuration want kept."""
        default = run_spec.CheckpointSpec().keep
        newest = run.spec.get("checkpoint", {}).get("keep", default) if run else default
        return retention.Policy(
            newest=int(newest),
            history=self._config.history,
            best=self._config.best,
            budget_bytes=self._config.budget_gigabytes * 10**9,
        )

    def plan(self, run: str) -> list[retention.Choice]:
        """What retention would do now; nothing is changed."""
        policy, scores = self._wanted(run)
        return retention.plan_retention(self._paths.run(run), policy, scores)

    def retain(self, run: str, *, pressed: bool = False) -> list[str]:
        """Read the newest back, then let go what has no reason to stay; the names that went."""
        run_dir = self._paths.run(run)
        self._examine_newest(run)
        policy, scores = self._wanted(run)
        if pressed:
            policy = policy.under_pressure()
        try:
            gone = retention.retain(run_dir, policy, scores, thorough=True)
        except OSError as error:
            self._journal(
                "retention_failed", f"Old checkpoints stay: {error}.", severity="warning", run=run
            )
            return []
        self._forget(run, gone)
        return gone

    def scrub(self) -> Scrub:
        """Read every checkpoint whose last reading is too long ago; damaged ones are set aside."""
        now = self._clock.now().timestamp()
        checkpoints, size_bytes = 0, 0
        bad: list[Verdict] = []
        with self._store.transaction() as tx:
            runs = tx.runs.all()
        for run in runs:
            run_dir = self._paths.run(run.name)
            for verdict in catalog.damaged(run_dir):
                bad.append(verdict)
                self.set_aside(run.name, verdict)
            for entry in catalog.list_checkpoints(run_dir):
                # a mark from the future is one of a clock that was wrong
                if now - self._config.scrub_every < retention.read_at(entry.path) <= now:
                    continue
                checkpoints += 1
                size_bytes += entry.size_bytes
                verdict = catalog.verify(entry.path)
                if verdict.ok:
                    retention.mark_read(entry.path, now)
                else:
                    bad.append(verdict)
                    self.set_aside(run.name, verdict)
        damaged = tuple(verdict for verdict in bad if not verdict.unread)
        unread = tuple(verdict for verdict in bad if verdict.unread)
        return Scrub(checkpoints, size_bytes, damaged, unread)

    def give_memory_back(self) -> None:
        """Of runs that have ended, and whose last trainer was killed before it could do that."""
        if not slots.are_any():
            return
        with self._store.transaction() as tx:
            runs = tx.runs.all()
        for run in runs:
            run_dir = self._paths.run(run.name)
            ended = run.state in (RunState.FINISHED, RunState.CANCELLED)
            if ended and not catalog.is_held(run_dir) and not catalog.is_writing(run_dir):
                slots.discard(run_dir)

    # --- details ----------------------------------------------------------------------------

    def _waits_for_writer(self, run: str) -> bool:
        """A dead trainer's writer may finish what it is at, for a while; then it is fenced off."""
        if not catalog.is_writing(self._paths.run(run)):
            self._writing_since.pop(run, None)
            return False
        now = self._clock.monotonic()
        return now - self._writing_since.setdefault(run, now) < _WRITER_SECONDS

    def _tend(self, run: str, *, at_once: bool) -> None:
        self.retain(run)
        self.mirroring.saved(run, at_once=at_once)

    def _look_around(self) -> None:
        self._rescue_all()
        self.missing.look()
        self.give_memory_back()

    def _rescue_all(self) -> None:
        for run in list(self._absent):
            if self.mirroring.rescue(run):
                self._cleared.add(run)
                self._absent.discard(run)
                self._wake()

    def _wanted(self, run: str) -> tuple[retention.Policy, dict[int, float]]:
        with self._store.transaction() as tx:
            return self.policy_of(tx.runs.get(run)), tx.samples.scores(run)

    def _examine_newest(self, run: str) -> None:
        """What was just written is read once; a disk that lies is found out while it matters."""
        for entry in self._newest(run):
            if retention.read_back(entry):
                continue
            verdict = catalog.verify(entry.path)
            if not verdict.ok:
                self.set_aside(run, verdict)

    def _newest(self, run: str) -> list[Entry]:
        return catalog.list_checkpoints(self._paths.run(run))[: retention.LEAST_KEPT]

    def set_aside(self, run: str, verdict: Verdict) -> None:
        """Quarantine and name a damaged checkpoint; one that could not be read stays. Any thread.

        Whoever else finds the same damage at the same time does no harm: it is told once.
        """
        if verdict.unread:
            return
        done = set_aside(self._paths.run(run), verdict)
        if done is None:
            return
        if done.moved:
            self._stuck.discard((run, verdict.name))
            self._forget(run, [verdict.name])
        elif (run, verdict.name) in self._stuck:
            return
        else:
            self._stuck.add((run, verdict.name))
        self._journal("checkpoint_damaged", done.sentence, severity="error", run=run)
        self._count(run, "damaged_checkpoints")

    def _tell(self, found: Scrub) -> None:
        if not found.checkpoints and not found.damaged and not found.unread:
            return
        result = "all others are whole" if found.unread else "all are whole"
        if found.damaged:
            result = "damaged: " + ", ".join(verdict.name for verdict in found.damaged)
        for verdict in found.unread:
            result += f"; {verdict.name} is left alone: {'; '.join(verdict.problems)}"
        self._journal(
            "scrubbed",
            f"{found.checkpoints} checkpoints ({found.size_bytes / 1e9:.1f} GB) were read again; "
            f"{result}.",
            severity="error" if found.damaged else "warning" if found.unread else "info",
        )

    def _forget(self, run: str, names: list[str]) -> None:
        if not names:
            return
        with self._store.transaction() as tx:
            for name in names:
                tx.checkpoints.remove(run, name)
        self._wake()

    def _journal(
        self,
        kind: str,
        message: str,
        *,
        severity: str = "info",
        run: str | None = None,
    ) -> None:
        with self._store.transaction() as tx:
            tx.journal.write(kind, message, self._clock.now(), severity=severity, run=run)
        self._wake()

    def _loop(self) -> None:
        become_idle()
        while True:
            try:
                task = self._work.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                task = self._look_around
            if task is None:
                return
            self._try(task)
            self._try(self.mirroring.work)

    def _try(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception:
            log.exception("the keeper could not do what it was asked for")


def tend_active(keeper: Keeper, runs: list[Run]) -> None:
    """Apply retention again, for deletions that failed at their time."""
    for run in runs:
        if run.state is RunState.ACTIVE:
            keeper.tend(run.name)
