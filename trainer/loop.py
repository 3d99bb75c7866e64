"""The training loop: one attempt at a run, from the lease to its last event."""

from __future__ import annotations

import math
import traceback
from pathlib import Path

from trainer import sizing
from trainer.announce import Announcer
from trainer.checkpoint import catalog
from trainer.checkpoint.lease import Lease
from trainer.clock import Clock
from trainer.contract.job import Job
from trainer.contract.messages import Failed, Finished
from trainer.contract.spec import RunSpec
from trainer.desk import Desk
from trainer.link import Link
from trainer.outcome import Outcome, explain
from trainer.saver import RETRY_SECONDS
from trainer.start import Parts, assemble

#: a predecessor that was killed frees the lock within moments, one that is saving needs longer
_LOCK_WAIT_SECONDS = 20.0
#: failures whose place in the code helps nobody: the message says it all
_PLAIN = (
    "locked",
    "fenced",
    "removed",
    "spec_changed",
    "dataset_changed",
    "record",
    "state",
    "no_device",
    "data",
    "too_little_data",
    "diverged",
)


def train(
    job: Job, link: Link, clock: Clock, *, lock_wait_seconds: float = _LOCK_WAIT_SECONDS
) -> int:
    """Live one attempt; the exit code. Never raises: whatever happens is the last event.

    Exit codes: 0 finished or stopped as told, 1 failed, 75 the run is in use, 77 a newer attempt
    owns it, 78 the spec is not the one it was started with.
    """
    try:
        outcome = _live(job, link, clock, lock_wait_seconds)
    except Exception as error:
        outcome = explain(error)
        if isinstance(outcome.event, Failed) and outcome.event.kind not in _PLAIN:
            traceback.print_exc()
    # said only now: whoever reads it may count on the lock being free
    link.send(outcome.event)
    return outcome.code


def _live(job: Job, link: Link, clock: Clock, lock_wait_seconds: float) -> Outcome:
    announcer = Announcer(link, clock)
    announcer.repeat_phase()
    run_dir = Path(job.run_dir)
    with Lease.take(run_dir, job.attempt, wait_seconds=lock_wait_seconds, clock=clock) as lease:
        newest = next(iter(catalog.list_checkpoints(run_dir)), None)
        desk = Desk(link, announcer, clock, newest.step if newest else 0)
        parts = assemble(job, lease, desk, announcer, clock)
        with parts.saver:
            return _Training(job.spec, parts, desk, announcer).run()


class _Training:
    """From the first step of this attempt to the horizon."""

    def __init__(self, spec: RunSpec, parts: Parts, desk: Desk, announcer: Announcer) -> None:
        self._spec = spec
        self._steps = sizing.horizon_steps(spec)
        self._state = parts.state
        self._saver = parts.saver
        self._stepper = parts.stepper
        self._examiner = parts.examiner
        self._rollback = parts.rollback
        self._desk = desk
        self._announcer = announcer
        self._told_of_epoch = False

    def run(self) -> Outcome:
        """Raises LeaveError when a command ends the attempt earlier, DivergedError if lost."""
        if self._state.step == 0 and self._state.keeping.warning:
            self._announcer.notice("recipe_warning", self._state.keeping.warning)
        while self._state.step < self._steps:
            self._evaluate_if_due()
            self._desk.answer()
            self._announcer.phase("train")
            self._announcer.say(self._stepper.run())
            self._tell_of_epoch()
            retreat = self._state.health.retreat(self._state.step)
            if retreat is not None:
                self._rollback.carry_out(retreat)
            self._saver.finished_step()
            self._desk.answer()
            self._save_if_due()
        return self._finish()

    def _evaluate_if_due(self) -> None:
        step, every = self._state.step, self._spec.train.eval_every_steps
        scheduled = every > 0 and step > 0 and step % every == 0
        before_all = step == 0 and self._state.bits_per_byte_before is None
        if self._state.evaluated_step == step or not (scheduled or before_all):
            return
        # an evaluation takes other memory than training and may be the end of the process
        if scheduled and (self._desk.finishing or not self._saver.is_recent()):
            self._save_as_due("eval")
        self._examiner.evaluate()

    def _save_if_due(self) -> None:
        if self._state.step >= self._steps or not self._saver.is_due():
            return
        if self._desk.finishing:
            self._save_as_due("finish")
        else:
            self._saver.begin("schedule")

    def _save_as_due(self, reason: str) -> None:
        saved = self._saver.save("finish" if self._desk.finishing else reason)
        if saved and self._desk.finishing:
            self._desk.leave("finish")

    def _tell_of_epoch(self) -> None:
        epoch = self._stepper.epoch()
        if epoch >= 1.0 and not self._told_of_epoch:
            self._told_of_epoch = True
            self._announcer.notice(
                "epoch_passed",
                f"after step {self._state.step} the corpus has been seen {epoch:.2f} times: "
                "from here on the model reads text that it has read before",
            )

    def _finish(self) -> Outcome:
        # saved first: whatever goes wrong with the evaluation, the weights are there
        while not self._saver.save("final"):
            self._announcer.phase("checkpoint", "the final save failed; it is tried again")
            self._desk.rest(RETRY_SECONDS)
        bits_per_byte = self._examiner.evaluate()
        sample = self._examiner.sample()
        self._announcer.phase("done")
        before = self._state.bits_per_byte_before
        return Outcome(
            Finished(
                step=self._state.step,
                bits_per_byte_before=math.nan if before is None else before,
                bits_per_byte=bits_per_byte,
                sample=sample,
                checkpoint=self._saver.name,
            )
        )
