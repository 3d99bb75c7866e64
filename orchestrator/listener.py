"""What the trainer says, written down: journal, curve, checkpoints, the end of attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator import missing, recovery
from orchestrator.domain import (
    AttemptEnd,
    Checkpoint,
    CheckpointView,
    Run,
    RunState,
    Sample,
)
from orchestrator.engine.base import TrainerEvent
from orchestrator.errors import Refused
from orchestrator.outage import seconds_per_step, told
from orchestrator.progress import Life, Progress
from trainer.contract import messages as m

if TYPE_CHECKING:
    from orchestrator.supervisor import Supervisor

#: points of the learning curve kept for an active run
KEEP_SAMPLES = 20_000
#: what the trainer says of a step that went wrong, and the total that counts it
_COUNTED_NOTICES = {
    "loss_not_finite": "nonfinite_steps",
    "loss_spike": "loss_spikes",
    "sentinel_mismatch": "sentinel_mismatches",
    "checkpoint_damaged": "damaged_checkpoints",
}


class Listener:
    """Takes the trainer's events apart. Works on the supervisor's thread only."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._s = supervisor

    def recall(self, run: Run) -> Progress:
        """The progress of a run as the store knows it."""
        progress = Progress(run.name, steps=run.steps, parameters=run.parameters)
        with self._s.store.transaction() as tx:
            progress.remember(tx.samples.of(run.name, 64))
            progress.checkpoint = _newest(tx.checkpoints.of(run.name))
        progress.bits_per_byte_before = run.bits_per_byte_before
        if run.bits_per_byte is not None:
            progress.bits_per_byte = run.bits_per_byte
        return progress

    def _recall_checkpoint(self, run: str) -> None:
        """A writer that outlived its trainer may have committed one, and could tell nobody."""
        progress = self._s.progress
        if progress is not None and progress.run == run:
            with self._s.store.transaction() as tx:
                progress.checkpoint = _newest(tx.checkpoints.of(run))

    def notice(self, note: TrainerEvent) -> None:
        """It lives; what it says is heard later."""
        life = self._s.life
        if life is not None and note.attempt == life.attempt:
            life.last_event = self._s.clock.monotonic()

    def hear(self, note: TrainerEvent) -> None:
        """Take one event of the trainer in; those of an earlier attempt are ignored."""
        life, progress = self._s.life, self._s.progress
        if life is None or note.attempt != life.attempt:
            return
        now = self._s.clock.monotonic()
        since_last_step = None if life.last_step_at is None else now - life.last_step_at
        if life.ready is not None and life.phase.phase == "paused":
            since_last_step = None
        life.fold(note.event, now)
        if progress is None or progress.run != life.run:
            return
        progress.fold(note.event, since_last_step)
        if isinstance(note.event, m.Ready | m.Saved | m.RolledBack):
            progress.saved_at_active_seconds = self._s.books.total(life.run, "active_seconds")
        match note.event:
            case m.Ready():
                self._ready(life, note.event)
            case m.Phase():
                self._phase(life, note.event)
            case m.Step():
                self._step(life, note.event)
            case m.Evaluated():
                self._evaluated(life, note.event)
            case m.Saved():
                self._saved(life, progress, note.event)
            case m.SaveFailed():
                self._save_failed(life, note.event)
            case m.RolledBack():
                self._rolled_back(life, note.event)
            case m.Notice():
                self._notice(life, note.event)
            case m.Finished():
                self._finished(life, note.event)

    def _notice(self, life: Life, event: m.Notice) -> None:
        if event.kind in _COUNTED_NOTICES:
            self._s.books.count(life.run, _COUNTED_NOTICES[event.kind])
        self._s.journal(event.kind, event.message, severity=event.severity, run=life.run)
        if event.kind == "starts_over" and self._s.shelf.all_damaged(life.run):
            self._s.crew.end_trainer("no whole checkpoint is left here: the mirror is asked")

    def _ready(self, life: Life, event: m.Ready) -> None:
        recovery.adopt_checkpoints(self._s.store, life.run, self._s.paths.run(life.run))
        self._recall_checkpoint(life.run)
        lost = self._lost_steps(life, event.step)
        if lost:
            self._s.books.count(life.run, "lost_steps", lost)
        self._s.books.reached(life.run, life.attempt, event.step, event.step)
        with self._s.store.transaction() as tx:
            tx.runs.update(life.run, steps=event.steps, parameters=event.parameters)
        again = f"; {lost} steps are computed again" if lost else ""
        if event.checkpoint:
            message = f"Training goes on at step {event.step} of {event.steps}{again}."
        else:
            message = f"Training begins: {event.steps} steps to go{again}."
        self._s.journal(
            "resumed" if event.checkpoint else "started",
            message,
            run=life.run,
            step=event.step,
            checkpoint=event.checkpoint,
            lost_steps=lost,
            environment=event.environment,
        )
        self._tell_of_outage(life, event, lost)
        self._s.flush()

    def _tell_of_outage(self, life: Life, event: m.Ready, lost_steps: int) -> None:
        """The whole outage in one line, now that it is known what it cost."""
        outage, self._s.outage = self._s.outage, None
        if outage is None:
            return
        with self._s.store.transaction() as tx:
            samples = tx.samples.of(life.run, 64)
            run = tx.runs.get(life.run)
        step_seconds = seconds_per_step(run, samples)
        lost = None if step_seconds is None else lost_steps * step_seconds
        self._s.journal(
            "outage_over",
            told(outage, lost_steps, lost),
            severity="warning",
            run=life.run,
            since=outage.since.isoformat(),
            seconds=outage.seconds,
            lost_steps=lost_steps,
            lost_seconds=lost,
            doubt=outage.doubt,
        )

    def _lost_steps(self, life: Life, step: int) -> int:
        with self._s.store.transaction() as tx:
            earlier = [a for a in tx.attempts.of(life.run) if a.number < life.attempt]
        reached = next((a.last_step for a in reversed(earlier) if a.last_step is not None), step)
        return max(0, reached - step)

    def _phase(self, life: Life, event: m.Phase) -> None:
        if event.phase == life.last_phase_seen:
            return
        if event.phase == "checkpoint" and life.last_phase_seen == "paused":
            # a paused trainer saves without going on, as in an outage
            return
        if event.phase == "paused" and self._s.cycling:
            life.last_phase_seen = "cycled"
            return
        if event.phase == "paused":
            self._s.journal("paused", f"Paused at step {life.reached}.", run=life.run)
        elif life.last_phase_seen == "paused":
            self._s.journal("unpaused", f"Goes on at step {life.reached}.", run=life.run)
        life.last_phase_seen = event.phase

    def _step(self, life: Life, event: m.Step) -> None:
        books = self._s.books
        books.count(life.run, "steps")
        books.step(life.run, event.seconds, event.phases)
        if "sentinel" in event.phases:
            books.count(life.run, "sentinel_checks")
        books.count(life.run, "tokens", event.tokens / max(1, event.step))
        assert life.ready is not None, "a step comes after Ready"
        books.reached(life.run, life.attempt, life.ready.step, event.step)
        books.sample(
            life.run,
            Sample(
                step=event.step,
                time=self._s.clock.now(),
                loss=event.loss,
                tokens_per_second=event.tokens_per_second,
                watts=self._s.power.watts,
            ),
        )

    def _evaluated(self, life: Life, event: m.Evaluated) -> None:
        self._s.books.phase(life.run, "eval", event.seconds)
        self._s.journal(
            "evaluated",
            f"Validation at step {event.step}: {event.bits_per_byte:.4f} bits per byte.",
            run=life.run,
            step=event.step,
            bits_per_byte=event.bits_per_byte,
            loss=event.loss,
        )
        if event.step == 0:
            with self._s.store.transaction() as tx:
                tx.runs.update(life.run, bits_per_byte_before=event.bits_per_byte)
        progress = self._s.progress
        assert progress is not None, "hear() has looked"
        self._s.books.sample(
            life.run,
            Sample(
                step=event.step,
                time=self._s.clock.now(),
                loss=progress.loss if progress.loss is not None else event.loss,
                tokens_per_second=progress.tokens_per_second or 0.0,
                bits_per_byte=event.bits_per_byte,
                watts=self._s.power.watts,
            ),
        )

    def _saved(self, life: Life, progress: Progress, event: m.Saved) -> None:
        now = self._s.clock.now()
        row = Checkpoint(
            life.run,
            event.name,
            event.step,
            now,
            event.size_bytes,
            life.attempt,
            event.reason,
            event.seconds,
            event.stall_seconds,
        )
        progress.checkpoint = CheckpointView(
            event.name, event.step, now, event.size_bytes, event.seconds, event.stall_seconds
        )
        self._s.books.count(life.run, "checkpoints")
        self._s.books.phase(life.run, "checkpoint", event.stall_seconds)
        self._s.flush()
        with self._s.store.transaction() as tx:
            tx.checkpoints.add(row)
            tx.journal.write(
                "checkpoint_saved",
                f"Checkpoint at step {event.step}: {event.size_bytes / 1e6:.1f} MB "
                f"in {event.seconds:.2f} s ({event.reason}); "
                f"training waited {event.stall_seconds:.2f} s.",
                now,
                run=life.run,
                data={
                    "step": event.step,
                    "name": event.name,
                    "seconds": event.seconds,
                    "stall_seconds": event.stall_seconds,
                },
            )
        if event.request:
            self._s.orders.settle(event.request, row)
        self._s.shelf.tend(life.run, event.reason)

    def _rolled_back(self, life: Life, event: m.RolledBack) -> None:
        assert life.ready is not None, "nobody goes back before Ready"
        lost = event.from_step - event.to_step
        left_out = sum(end - first for first, end in event.skipped)
        self._s.books.count(life.run, "rollbacks")
        if event.to_step == 0 and not event.checkpoint:
            books = self._s.books
            undone = books.total(life.run, "checkpoints") - books.total(life.run, missing.UNDONE)
            books.count(life.run, missing.UNDONE, undone)
        self._s.books.count(life.run, "lost_steps", lost)
        self._s.books.reached(life.run, life.attempt, life.ready.step, event.to_step)
        self._s.flush()
        with self._s.store.transaction() as tx:
            for name in event.undone:
                tx.checkpoints.remove(life.run, name)
            tx.journal.write(
                "rolled_back",
                f"Training went back from step {event.from_step} to step {event.to_step}; "
                f"{left_out} batches of the run are left out now: {event.why}.",
                self._s.clock.now(),
                severity="error",
                run=life.run,
                data={
                    "from_step": event.from_step,
                    "to_step": event.to_step,
                    "skipped_batches": event.skipped,
                    "checkpoint": event.checkpoint,
                    "set_aside": event.undone,
                    "times": event.times,
                },
            )

    def _save_failed(self, life: Life, event: m.SaveFailed) -> None:
        self._s.books.count(life.run, "checkpoint_failures")
        self._s.journal(
            "checkpoint_failed",
            f"No checkpoint at step {event.step}: {event.message}. Older ones are untouched.",
            severity="error",
            run=life.run,
            step=event.step,
            cause=event.kind,
        )
        if event.kind == "disk_full":
            self._s.shelf.relieve(life.run)
        if event.request:
            fix = "make room on the disk" if event.kind == "disk_full" else "homerun logs"
            self._s.orders.settle(event.request, Refused(f"not saved: {event.message}", fix))

    def _finished(self, life: Life, event: m.Finished) -> None:
        now = self._s.clock.now()
        self._s.flush()
        with self._s.store.transaction() as tx:
            tx.runs.update(
                life.run,
                bits_per_byte_before=event.bits_per_byte_before,
                bits_per_byte=event.bits_per_byte,
                sample=event.sample,
                model_path=str(self._s.paths.run(life.run) / "checkpoints" / event.checkpoint),
            )
            tx.runs.set_state(life.run, RunState.FINISHED, now)
            tx.samples.thin(life.run, KEEP_SAMPLES)
            tx.journal.write(
                "run_finished",
                f"{life.run} is finished: {event.bits_per_byte_before:.4f} -> "
                f"{event.bits_per_byte:.4f} bits per byte.",
                now,
                run=life.run,
                data={"bits_per_byte": event.bits_per_byte, "step": event.step},
            )

    def finish_attempt(self, life: Life, end: AttemptEnd, cause: str) -> None:
        """Write the end of a life of the trainer down."""
        now = self._s.clock.now()
        if end.counts_as_failure:
            self._s.books.count(life.run, "restarts")
            self._s.books.count(life.run, f"restarts_{end.value}")
        self._s.flush()
        with self._s.store.transaction() as tx:
            tx.attempts.end(life.run, life.attempt, end, cause, now, life.reached)
            tx.journal.write(
                "attempt_ended",
                f"Attempt {life.attempt} at {life.run} ended: {cause}.",
                now,
                severity="warning" if end.counts_as_failure else "info",
                run=life.run,
                data={
                    "attempt": life.attempt,
                    "end": end.value,
                    "cause": cause,
                    "step": life.reached,
                    # the wall clock may have been set meanwhile
                    "seconds": self._s.clock.monotonic() - life.began,
                },
            )


def _newest(checkpoints: list[Checkpoint]) -> CheckpointView | None:
    if not checkpoints:
        return None
    newest = checkpoints[0]
    return CheckpointView(
        newest.name,
        newest.step,
        newest.created,
        newest.size_bytes,
        newest.write_seconds,
        newest.stall_seconds,
    )
