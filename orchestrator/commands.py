"""What a person can ask for. Durable in the store before it is acknowledged; then a tick acts."""

from __future__ import annotations

import uuid
from concurrent.futures import CancelledError
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator import missing
from orchestrator.domain import (
    Checkpoint,
    Effect,
    Hold,
    Reason,
    Run,
    RunState,
)
from orchestrator.errors import HomerunError, Invalid, Misconfigured, Refused
from orchestrator.holds import guests
from orchestrator.orders import SaveOrder
from orchestrator.piloting.goals import Goal, RunGoal
from orchestrator.power.profiler import NoProfiler, Profiling
from orchestrator.questions import Questions, checkpoint_named, known_or_current, known_run
from orchestrator.queue_order import prioritize
from orchestrator.registrar import forgive
from orchestrator.restoring import bring_back
from orchestrator.settings import config as configuration
from orchestrator.supervisor import Wake
from trainer.checkpoint import retention
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.retention import Choice
from trainer.contract import spec as run_spec
from trainer.contract.choices import DEFAULT_CORPUS
from trainer.contract.toml import InvalidFileError

#: a save of the largest model that fits a home card, on a slow disk
SAVE_TIMEOUT_SECONDS = 600.0

#: a stored gpu_busy is a guest's own word; the newest word is that of the person who resumes
_LIFTED_BY_RESUME = (Reason.USER, Reason.CRASH_LOOP, Reason.GPU_BUSY)


class Commands(Questions):
    """The backend of the web side; every method may be called from any thread."""

    #: who measures the card's levels, once there is a card
    profiler: Profiling = NoProfiler()

    def submit(self, spec: dict[str, Any], priority: int, source: str) -> Run:
        try:
            checked = run_spec.from_dict(spec)
        except InvalidFileError as error:
            raise Misconfigured(str(error), "correct the spec and submit it again") from None
        corpus = checked.data.corpus
        if corpus != DEFAULT_CORPUS and not Path(corpus).is_dir():
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
            known = known_run(tx, run)
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
            cancelled = known_run(tx, run)
        self._wake()
        return cancelled

    def set_goal(self, run: str, goal: Goal, source: str) -> RunGoal:
        now = self._supervisor.clock.now()
        wanted = goal.checked(now)
        with self._store.transaction() as tx:
            known = known_run(tx, run)
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
            prioritize(tx, known_run(tx, run), priority, now, source)
            changed = known_run(tx, run)
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
                known_run(tx, run)
            holds = [hold for hold in tx.holds.active(now) if run in (None, hold.run)]
            lifted = [
                hold
                for hold in holds
                if hold.reason in _LIFTED_BY_RESUME or hold.source == missing.SOURCE
            ]
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
            name = known_or_current(tx, run).name
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
            owner = known_or_current(tx, run).name
        entry = checkpoint_named(self._supervisor.paths.run(owner), name)
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
                known_run(tx, run)
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
