"""A backend without a daemon behind it: for tests, and for working on the page.

It keeps the promises of ``Backend`` in memory: commands show in the next snapshot, journal ids
grow, totals never fall, wrong requests raise the errors that the real one raises.
"""

from __future__ import annotations

import difflib
import math
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.domain import (
    Attempt,
    Checkpoint,
    CheckpointView,
    Effect,
    Hold,
    JournalEntry,
    QueueItem,
    Reason,
    Run,
    RunState,
    RunView,
    Sample,
    Setpoint,
    ShelvedCheckpoint,
    Snapshot,
)
from orchestrator.errors import Held, Invalid, Misconfigured, NotFound, Refused
from orchestrator.headline import headline
from orchestrator.home.clock import Clock, FakeClock
from orchestrator.ledger.summary import By, EnergySummary, summarize
from orchestrator.power.profiler import NoProfiler, Profiling
from orchestrator.surroundings import Surroundings
from orchestrator.tariff.report import PricesReport, report
from orchestrator.tariff.slots import PriceSeries
from orchestrator.web.fake_figures import (
    BATCH_TOKENS,
    STEP_SECONDS,
    STEPS,
    TARIFF,
    daemon_view,
    ledger_rows,
    loss_of,
    run_of,
    sample_of,
    step_totals,
    surroundings_at,
    view_of,
)
from orchestrator.web.fake_guests import FakeGuests
from orchestrator.web.fake_page import FakePage
from orchestrator.web.fake_schedule import BILLS, FakePlan
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.retention import Candidate, Choice, Policy, choose
from trainer.contract import spec as run_spec
from trainer.contract.toml import InvalidFileError


class FakeBackend(FakeGuests, FakePage, FakePlan):
    """One run under way at ``step``, one that waits, one that is done. Moves by ``advance``."""

    def __init__(self, clock: Clock | None = None, *, step: int = 1_240, log: Path | None = None):
        self._clock = clock or FakeClock()
        self.profiler: Profiling = NoProfiler()
        self._changed = threading.Condition(threading.RLock())
        self.pinned: set[str] = set()
        self._log = log or Path("/nonexistent/trainer.log")
        self._started = now = self._clock.now()
        self._runs = {
            name: run_of(name, state, now)
            for name, state in (
                ("evening", RunState.ACTIVE),
                ("winter", RunState.QUEUED),
                ("first", RunState.FINISHED),
            )
        }
        self._attempts = [Attempt("evening", 3, now, step, None)]
        self._holds: list[Hold] = []
        self._journal: list[JournalEntry] = []
        self._checkpoints: list[ShelvedCheckpoint] = []
        self._samples: list[Sample] = []
        self._counters = {"evening": {"restarts": 1.0, "restarts_crashed": 1.0}}
        self._view: RunView | None = view_of(self._runs["evening"], step)
        self.damaged: set[str] = set()
        with self._changed:
            self._grow(0, step)
            self._save(max(0, step - 90), "schedule")
            self.write("resumed", f"Training goes on at step {step} of {STEPS}.", run="evening")

    # --- the hand that moves it -------------------------------------------------------------

    def advance(self, steps: int = 1) -> None:
        """Let the run make steps, unless something holds it; then only time passes."""
        with self._changed:
            self._end_expired()
            held = {f"held_seconds_{hold.reason}": STEP_SECONDS for hold in self._holds}
            self._count(held, steps)
            if self._view is not None and not self._stopped():
                self._grow(self._view.step, min(STEPS, self._view.step + steps))
            self._publish()

    def show(self, **changes: Any) -> None:
        """Replace fields of the active run's view."""
        with self._changed:
            assert self._view is not None, "no run is active"
            self._view = replace(self._view, **changes)
            self._publish()

    def empty(self) -> None:
        """Nothing is active and nothing waits."""
        with self._changed:
            self._view = None
            for name, run in self._runs.items():
                if run.state is not RunState.FINISHED:
                    self._runs[name] = replace(run, state=RunState.CANCELLED)
            self._publish()

    def hold(self, hold: Hold) -> Hold:
        """Add a hold, as a sense would."""
        with self._changed:
            kept = replace(hold, id=len(self._journal) + 1)
            self._holds.append(kept)
            self.write("hold_started", f"Held by {hold.reason}: {hold.detail}.", run=hold.run)
            return kept

    def write(
        self, kind: str, message: str, *, severity: str = "info", run: str | None = None
    ) -> JournalEntry:
        """Write one line into the journal."""
        with self._changed:
            number = len(self._journal) + 1
            entry = JournalEntry(number, self._clock.now(), kind, message, severity, run)
            self._journal.append(entry)
            self._publish()
            return entry

    # --- readers ----------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        with self._changed:
            return self._snapshot

    def wait_for_change(self, seen: datetime | None, timeout_seconds: float) -> Snapshot:
        with self._changed:
            self._changed.wait_for(lambda: self._snapshot.time != seen, timeout_seconds)
            return self._snapshot

    def runs(self) -> list[Run]:
        with self._changed:
            return list(self._runs.values())

    def run(self, name: str) -> Run:
        with self._changed:
            if name not in self._runs:
                close = difflib.get_close_matches(name, self._runs, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "homerun runs shows them all"
                raise NotFound(f"no run {name!r}", hint)
            return self._runs[name]

    def attempts(self, run: str) -> list[Attempt]:
        with self._changed:
            return [item for item in self._attempts if item.run == self.run(run).name]

    def checkpoints(self, run: str | None) -> list[ShelvedCheckpoint]:
        with self._changed:
            name = self.run(run).name if run else "evening"
            mine = [item for item in reversed(self._checkpoints) if item.run == name]
            return [replace(item, pinned=item.name in self.pinned) for item in mine]

    def verify_checkpoints(self, run: str | None, name: str | None) -> list[Verdict]:
        with self._changed:
            chosen = [item for item in self.checkpoints(run) if name in (None, item.name)]
            if name is not None and not chosen:
                raise NotFound(f"no checkpoint {name!r}", "homerun checkpoints list")
            return [self._verdict(item) for item in chosen]

    def plan_retention(self, run: str | None) -> list[Choice]:
        candidates = [
            Candidate(item.name, item.step, item.size_bytes, item.name in self.pinned)
            for item in self.checkpoints(run)
        ]
        return choose(candidates, Policy(newest=2, history=0, best=0))

    def prune(self, run: str | None, source: str) -> list[Choice]:
        with self._changed:
            plan = self.plan_retention(run)
            kept = {choice.name for choice in plan if choice.keep}
            gone = {choice.name for choice in plan} - kept
            self._checkpoints = [item for item in self._checkpoints if item.name not in gone]
            return plan

    def pin(self, run: str | None, name: str, *, pinned: bool, source: str) -> Verdict:
        with self._changed:
            (verdict,) = self.verify_checkpoints(run, name)
            (self.pinned.add if pinned else self.pinned.discard)(name)
            return verdict

    def restore(self, run: str, url: str, source: str) -> Checkpoint:
        if run in self._runs:
            raise Refused(f"{run} is here already", "homerun checkpoints list")
        raise NotFound(f"no run {run!r} below {url}", "give what checkpoint.mirror says")

    def _verdict(self, item: Checkpoint) -> Verdict:
        bad = item.name in self.damaged
        return Verdict(item.name, item.step, not bad, ("model: wrong checksum",) if bad else ())

    def journal(
        self, *, after: int = 0, limit: int = 100, run: str | None = None
    ) -> list[JournalEntry]:
        with self._changed:
            wanted = None if run is None else self.run(run).name
            found = [e for e in self._journal if e.id > after and wanted in (None, e.run)]
            return found[:limit] if after else found[-limit:]

    def samples(self, run: str, limit: int) -> list[Sample]:
        with self._changed:
            mine = self._samples if self.run(run).name == "evening" else []
            stride = max(1, math.ceil(len(mine) / limit))
            return mine[::stride]

    def log_file(self, run: str | None) -> Path:
        if run is not None:
            self.run(run)
        return self._log

    def prices(self, hours: int) -> PricesReport:
        return report(TARIFF, PriceSeries("EUR", ()), None, self._clock.now(), hours)

    def surroundings(self) -> Surroundings:
        return surroundings_at(self._clock.now())

    def energy(self, by: By) -> EnergySummary:
        return summarize(ledger_rows(self._clock.now()), by, UTC, self._clock.now(), lambda *_: ())

    def config_view(self) -> dict[str, Any]:
        return {"web": {"host": "127.0.0.1", "port": 8420, "token_file": "***"}}

    # --- commands ---------------------------------------------------------------------------

    def submit(self, spec: dict[str, Any], priority: int, source: str) -> Run:
        try:
            checked = run_spec.from_dict(spec)
        except InvalidFileError as error:
            raise Misconfigured(str(error), "correct the spec and submit it again") from None
        with self._changed:
            if checked.name in self._runs:
                raise Refused(f"there is a run {checked.name!r}", "choose another name")
            run = run_of(checked.name, RunState.QUEUED, self._clock.now())
            run = replace(run, priority=priority, spec=checked.to_dict())
            self._runs[run.name] = run
            self.write("run_submitted", f"{run.name} is in the queue.", run=run.name)
            return run

    def cancel(self, run: str, source: str) -> Run:
        with self._changed:
            known = self.run(run)
            if known.state in (RunState.FINISHED, RunState.CANCELLED):
                raise Refused(f"{run} is already {known.state}", "homerun runs")
            if known.state is RunState.ACTIVE:
                self._view = None
            self._runs[run] = replace(known, state=RunState.CANCELLED)
            self.write("run_cancelled", f"{run} leaves the queue.", run=run)
            return self._runs[run]

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
        if until is not None and until <= self._clock.now():
            raise Invalid(f"{until:%F %T} UTC is in the past", "give a time still to come")
        effect = Effect.RELEASE if release else Effect.PAUSE
        return self._user_hold(run, effect, until, detail, source)

    def finish(self, *, run: str | None, detail: str, source: str) -> Hold:
        return self._user_hold(run, Effect.FINISH, None, detail, source)

    def _user_hold(
        self, run: str | None, effect: Effect, until: datetime | None, detail: str, source: str
    ) -> Hold:
        with self._changed:
            name = None if run is None else self.run(run).name
            self._holds = [hold for hold in self._holds if hold.reason is not Reason.USER]
            since = self._clock.now()
            return self.hold(Hold(Reason.USER, effect, source, since, until, detail, name))

    def resume(self, *, run: str | None, source: str) -> list[Hold]:
        with self._changed:
            if run is not None:
                self.run(run)
            lifted = (Reason.USER, Reason.CRASH_LOOP, Reason.GPU_BUSY)
            self._holds = [hold for hold in self._holds if hold.reason not in lifted]
            self.write("hold_ended", "The hold 'user' was lifted.")
            return list(self._holds)

    def save_checkpoint(self, source: str) -> Checkpoint:
        with self._changed:
            if self._view is None or self._setpoint().effect is Effect.RELEASE:
                raise Held("no trainer runs, so there is nothing to save", "homerun resume")
            saved = self._save(self._view.step, "request")
            self._publish()
            return saved

    # --- inside -----------------------------------------------------------------------------

    def _stopped(self) -> bool:
        return self._setpoint().effect not in (Effect.RUN, Effect.CAP)

    def _setpoint(self) -> Setpoint:
        if not self._holds:
            return Setpoint(Effect.RUN)
        deepest = max((hold.effect for hold in self._holds), key=lambda effect: effect.depth)
        these = [hold for hold in self._holds if hold.effect is deepest]
        ends = [hold.until for hold in these if hold.until is not None]
        until = max(ends) if len(ends) == len(these) else None
        return Setpoint(deepest, reasons=tuple(hold.reason for hold in these), until=until)

    def _end_expired(self) -> None:
        now = self._clock.now()
        over = [hold for hold in self._holds if hold.until is not None and hold.until <= now]
        self._holds = [hold for hold in self._holds if hold not in over]
        for hold in over:
            self.write("hold_ended", f"The hold '{hold.reason}' ended on time.", run=hold.run)

    def _grow(self, first: int, last: int) -> None:
        assert self._view is not None, "a run is active"
        for step in range(first + 1, last + 1):
            left = timedelta(seconds=(last - step) * STEP_SECONDS)
            self._samples.append(sample_of(step, self._clock.now() - left))
        self._count(step_totals(), last - first)
        self._view = self._progressed(self._view, last)

    def _count(self, each: dict[str, float], times: int) -> None:
        totals = self._counters["evening"]
        for name, delta in each.items():
            totals[name] = totals.get(name, 0.0) + times * delta

    def _progressed(self, view: RunView, step: int) -> RunView:
        left = timedelta(seconds=(STEPS - step) * STEP_SECONDS)
        evaluated = [item for item in self._samples if item.bits_per_byte is not None]
        return replace(
            view,
            step=step,
            unsaved_seconds=(view.unsaved_seconds or 0.0) + (step - view.step) * STEP_SECONDS,
            tokens=step * BATCH_TOKENS,
            epoch=step * BATCH_TOKENS / 60e6,
            loss=loss_of(step),
            bits_per_byte=evaluated[-1].bits_per_byte if evaluated else None,
            progress=step / STEPS,
            eta=self._clock.now() + left,
            energy_joules=self._counters["evening"]["energy_joules"],
            active_seconds=self._counters["evening"]["active_seconds"],
            loss_history=tuple(item.loss for item in self._samples[-64:]),
        )

    def _save(self, step: int, reason: str) -> Checkpoint:
        assert self._view is not None, "a run is active"
        now, size = self._clock.now(), 37_400_000
        name = f"gen-{step:08d}-000003-5eed{len(self._checkpoints):04x}"
        saved = ShelvedCheckpoint("evening", name, step, now, size, 3, reason)
        self._checkpoints.append(saved)
        view = CheckpointView(name, step, now, size, 0.4, 0.01)
        self._view = replace(self._view, checkpoint=view, unsaved_seconds=0.0)
        self._count({"checkpoints": 1.0, "phase_seconds_checkpoint": 0.4}, 1)
        self.write("checkpoint_saved", f"Checkpoint at step {step}: 37.4 MB.", run="evening")
        return saved

    def _publish(self) -> None:
        earlier = getattr(self, "_snapshot", None)
        now = self._clock.now()
        if earlier is not None and now <= earlier.time:
            now = earlier.time + timedelta(microseconds=1)
        self._snapshot = self._taken(now)
        self._changed.notify_all()

    def _taken(self, now: datetime) -> Snapshot:
        setpoint, holds = self._setpoint(), tuple(self._holds)
        waiting = [run for run in self._runs.values() if run.state is RunState.QUEUED]
        waiting.sort(key=lambda run: -run.priority)
        view = self._view
        if view is not None and self._stopped():
            view = replace(view, phase="paused", eta=None)
        return Snapshot(
            time=now,
            headline=headline(now, view, setpoint, holds, len(waiting)),
            daemon=daemon_view(self._started),
            setpoint=setpoint,
            holds=holds,
            run=view,
            queue=tuple(QueueItem(run.name, run.priority) for run in waiting),
            counters={run: dict(totals) for run, totals in self._counters.items()},
            journal=tuple(self._journal[-8:]),
            plan=self.plan_view() if view is not None else None,
            bills=BILLS,
        )
