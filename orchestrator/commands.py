"""What a person can ask for. Durable in the store before it is acknowledged; then a tick acts."""

from __future__ import annotations

import difflib
import uuid
from concurrent.futures import CancelledError
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator import config as configuration
from orchestrator import guests
from orchestrator.domain import (
    Attempt,
    Checkpoint,
    Effect,
    Hold,
    JournalEntry,
    Reason,
    Run,
    RunState,
    Sample,
    Snapshot,
)
from orchestrator.errors import HomerunError, Invalid, Misconfigured, NotFound, Refused
from orchestrator.goals import Goal, RunGoal
from orchestrator.keeper import Keeper
from orchestrator.ledger.keeper import everything
from orchestrator.ledger.summary import By, EnergySummary, summarize
from orchestrator.navigator import Navigator
from orchestrator.orders import SaveOrder
from orchestrator.profiler import NoProfiler, Profiling
from orchestrator.queue_order import prioritize
from orchestrator.registrar import forgive
from orchestrator.restoring import bring_back
from orchestrator.schedule_report import CurveReport, ScheduleReport
from orchestrator.store import Store, Transaction
from orchestrator.supervisor import Supervisor, Wake
from orchestrator.surroundings import Lookout, Surroundings
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.tariff.report import PricesReport
from trainer.checkpoint import catalog, retention
from trainer.checkpoint.catalog import Entry, Verdict
from trainer.checkpoint.retention import Choice
from trainer.contract import spec as run_spec
from trainer.contract.toml import InvalidFileError

#: a save of the largest model that fits a home card, on a slow disk
SAVE_TIMEOUT_SECONDS = 600.0

#: a stored gpu_busy is a guest's own word; the newest word is that of the person who resumes
_LIFTED_BY_RESUME = (Reason.USER, Reason.CRASH_LOOP, Reason.GPU_BUSY)


class Commands:
    """The backend of the web side; every method may be called from any thread."""

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
        self.profiler: Profiling = NoProfiler()

    # --- readers ----------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        return self._supervisor.board.snapshot()

    def wait_for_change(self, seen: datetime | None, timeout_seconds: float) -> Snapshot:
        return self._supervisor.board.wait_for_change(seen, timeout_seconds)

    def runs(self) -> list[Run]:
        with self._store.transaction() as tx:
            return tx.runs.all()

    def run(self, name: str) -> Run:
        with self._store.transaction() as tx:
            return _known(tx, name)

    def attempts(self, run: str) -> list[Attempt]:
        with self._store.transaction() as tx:
            return tx.attempts.of(_known(tx, run).name)

    def checkpoints(self, run: str | None) -> list[Checkpoint]:
        with self._store.transaction() as tx:
            return tx.checkpoints.of(_known_or_current(tx, run).name)

    def verify_checkpoints(self, run: str | None, name: str | None) -> list[Verdict]:
        with self._store.transaction() as tx:
            run_dir = self._supervisor.paths.run(_known_or_current(tx, run).name)
        if name is None:
            entries = catalog.list_checkpoints(run_dir)
            return [catalog.verify(entry.path) for entry in entries] + catalog.damaged(run_dir)
        return [catalog.verify(_checkpoint(run_dir, name).path)]

    def plan_retention(self, run: str | None) -> list[Choice]:
        with self._store.transaction() as tx:
            name = _known_or_current(tx, run).name
        return self._keeper.plan(name)

    def journal(
        self, *, after: int = 0, limit: int = 100, run: str | None = None
    ) -> list[JournalEntry]:
        with self._store.transaction() as tx:
            if run is not None:
                _known(tx, run)
            return tx.journal.after(after, limit, run) if after else tx.journal.newest(limit, run)

    def samples(self, run: str, limit: int) -> list[Sample]:
        with self._store.transaction() as tx:
            return tx.samples.of(_known(tx, run).name, limit)

    def scores(self, run: str) -> dict[int, float]:
        with self._store.transaction() as tx:
            return tx.samples.scores(_known(tx, run).name)

    def log_file(self, run: str | None) -> Path:
        with self._store.transaction() as tx:
            return self._supervisor.paths.run(_known_or_current(tx, run).name) / "trainer.log"

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

    # --- commands ---------------------------------------------------------------------------

    def submit(self, spec: dict[str, Any], priority: int, source: str) -> Run:
        try:
            checked = run_spec.from_dict(spec)
        except InvalidFileError as error:
            raise Misconfigured(str(error), "correct the spec and submit it again") from None
        corpus = checked.data.corpus
        if corpus != run_spec.DEFAULT_CORPUS and not Path(corpus).is_dir():
            raise Misconfigured(
                f"data.corpus: no such directory {corpus}", "give a directory that exists"
            )
        now = self._supervisor.clock.now()
        with self._store.transaction() as tx:
            run = tx.runs.add(checked, priority, now)
            tx.journal.write(
                "run_submitted",
                f"{run.name} is in the queue with priority {priority}.",
                now,
                run=run.name,
                data={"source": source},
            )
        self._wake()
        return run

    def cancel(self, run: str, source: str) -> Run:
        now = self._supervisor.clock.now()
        with self._store.transaction() as tx:
            known = _known(tx, run)
            if known.state in (RunState.FINISHED, RunState.CANCELLED):
                raise Refused(f"{run} is already {known.state}", "homerun runs")
            tx.runs.set_state(run, RunState.CANCELLED, now)
            tx.journal.write(
                "run_cancelled",
                f"{run} leaves the queue; its checkpoints stay.",
                now,
                run=run,
                data={"source": source},
            )
            cancelled = _known(tx, run)
        self._wake()
        return cancelled

    def set_goal(self, run: str, goal: Goal, source: str) -> RunGoal:
        now = self._supervisor.clock.now()
        wanted = goal.checked(now)
        with self._store.transaction() as tx:
            known = _known(tx, run)
            if known.state in (RunState.FINISHED, RunState.CANCELLED):
                raise Refused(f"{run} is already {known.state}", "homerun runs")
            kept = tx.goals.put(
                RunGoal(run, wanted.kind, now, wanted.deadline, wanted.slack, wanted.money)
            )
            tx.journal.write(
                "goal_set", f"{run}: {wanted.words}.", now, run=run, data={"source": source}
            )
        self._navigator.touch()
        self._wake()
        return kept

    def prioritize(self, run: str, priority: int, source: str) -> Run:
        with self._store.transaction() as tx:
            now = self._supervisor.clock.now()
            prioritize(tx, _known(tx, run), priority, now, source)
            changed = _known(tx, run)
        self._wake()
        return changed

    def pause(
        self,
        *,
        run: str | None,
        until: datetime | None,
        release: bool,
        detail: str,
        source: str,
        lasts: bool = False,
    ) -> Hold:
        effect = Effect.RELEASE if release else Effect.PAUSE
        hold = self._hold(run, effect, until, detail, source)
        if lasts:
            self._supervisor.timekeeper.lasts(hold.id)
        return hold

    def finish(self, *, run: str | None, detail: str, source: str) -> Hold:
        return self._hold(run, Effect.FINISH, None, detail, source)

    def arrive(self, *, name: str, until: datetime | None, detail: str) -> Hold:
        now, config = self._supervisor.clock.now(), self.config.gpu_busy
        with self._store.transaction() as tx:
            held = guests.arrive(tx, name, until, detail, now, config)
        self._wake()
        return held

    def leave(self, *, name: str) -> bool:
        with self._store.transaction() as tx:
            ended = guests.leave(tx, name, self._supervisor.clock.now())
        self._wake()
        return ended

    def resume(self, *, run: str | None, source: str) -> list[Hold]:
        now = self._supervisor.clock.now()
        with self._store.transaction() as tx:
            if run is not None:
                _known(tx, run)
            holds = [hold for hold in tx.holds.active(now) if run in (None, hold.run)]
            lifted = [hold for hold in holds if hold.reason in _LIFTED_BY_RESUME]
            tx.holds.end([hold.id for hold in lifted], now)
            active = tx.runs.active()
            for hold in lifted:
                if hold.reason is Reason.CRASH_LOOP and hold.run is not None:
                    forgive(tx, hold.run)
                tx.journal.write(
                    "hold_ended",
                    f"The hold '{hold.reason}' was lifted.",
                    now,
                    run=hold.run,
                    data={"source": source},
                )
            names = (None, active.name if active else None, run)
            left = [hold for hold in tx.holds.active(now) if hold.run in names]
        self._wake(forgive=True)
        return left

    def save_checkpoint(self, source: str) -> Checkpoint:
        order = SaveOrder(f"{source}-{uuid.uuid4().hex[:12]}")
        self._supervisor.inbox.put(order)
        try:
            return order.answer.result(timeout=SAVE_TIMEOUT_SECONDS)
        except (TimeoutError, CancelledError):
            raise HomerunError(
                f"the trainer did not answer within {SAVE_TIMEOUT_SECONDS:.0f} s", "homerun logs"
            ) from None

    def prune(self, run: str | None, source: str) -> list[Choice]:
        with self._store.transaction() as tx:
            name = _known_or_current(tx, run).name
        plan = self._keeper.plan(name)
        gone = self._keeper.retain(name)
        self._supervisor.journal(
            "pruned",
            f"{len(gone)} checkpoints of {name} were deleted.",
            run=name,
            source=source,
            names=gone,
        )
        return [choice for choice in plan if choice.keep or choice.name in gone]

    def pin(self, run: str | None, name: str, *, pinned: bool, source: str) -> Verdict:
        with self._store.transaction() as tx:
            owner = _known_or_current(tx, run).name
        entry = _checkpoint(self._supervisor.paths.run(owner), name)
        try:
            (retention.pin if pinned else retention.unpin)(entry.path)
        except OSError as error:
            raise Refused(f"{name} cannot be marked: {error.strerror}", "homerun doctor") from None
        self._supervisor.journal(
            "pinned" if pinned else "unpinned",
            f"Checkpoint {name} stays until it is unpinned."
            if pinned
            else f"Retention decides on checkpoint {name} again.",
            run=owner,
            source=source,
        )
        return Verdict(name, entry.step, True, ())

    def restore(self, run: str, url: str, source: str) -> Checkpoint:
        life = self._supervisor.life
        trains = life is not None and life.run == run
        found = bring_back(self._keeper, self._supervisor.paths, run, url, trains=trains)
        with self._store.transaction() as tx:
            known = tx.runs.get(run) is not None
        if not known:
            self.submit(found.spec, 0, source)
        with self._store.transaction() as tx:
            tx.checkpoints.add(found.checkpoint)
            tx.journal.write(
                "restored",
                f"{run} was restored at step {found.checkpoint.step} "
                f"from {configuration.masked(url)}.",
                self._supervisor.clock.now(),
                run=run,
                data={"source": source},
            )
        self._wake()
        return found.checkpoint

    def _hold(
        self, run: str | None, effect: Effect, until: datetime | None, detail: str, source: str
    ) -> Hold:
        now = self._supervisor.clock.now()
        if until is not None and until <= now:
            local = until.astimezone()
            raise Invalid(f"{local:%F %T} is in the past", "give a time that is still to come")
        with self._store.transaction() as tx:
            if run is not None:
                _known(tx, run)
            # The newest word of the user counts: a pause replaces the one before it.
            earlier = [
                hold.id
                for hold in tx.holds.active(now)
                if hold.reason is Reason.USER and hold.run == run
            ]
            tx.holds.end(earlier, now)
            hold = tx.holds.add(
                Hold(
                    reason=Reason.USER,
                    effect=effect,
                    source=source,
                    since=now,
                    until=until,
                    detail=detail,
                    run=run,
                )
            )
            tx.journal.write(
                "hold_started",
                f"Held by user: {effect}" + (f" ({detail})" if detail else "") + ".",
                now,
                run=run,
                data={"source": source, "until": until.isoformat() if until else None},
            )
        self._wake()
        return hold

    def _wake(self, *, forgive: bool = False) -> None:
        self._supervisor.keep_roster()
        self._supervisor.inbox.put(Wake(commanded=True, forgive=forgive))


def _checkpoint(run_dir: Path, name: str) -> Entry:
    entries = catalog.list_checkpoints(run_dir)
    for entry in entries:
        if entry.name == name:
            return entry
    hint = _nearest(name, [entry.name for entry in entries])
    raise NotFound(f"no checkpoint {name!r}", hint or "homerun checkpoints list")


def _known(tx: Transaction, name: str) -> Run:
    run = tx.runs.get(name)
    if run is None:
        hint = _nearest(name, [item.name for item in tx.runs.all()])
        raise NotFound(f"no run {name!r}", hint or "homerun runs shows them all")
    return run


def _known_or_current(tx: Transaction, name: str | None) -> Run:
    if name is not None:
        return _known(tx, name)
    runs = tx.runs.all()
    if not runs:
        raise NotFound("there is no run yet", "homerun submit spec.toml")
    return runs[0]


def _nearest(wrong: str, known: list[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""
