"""Saver: when a checkpoint is due, and taking it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from trainer import interval
from trainer.announce import Announcer
from trainer.checkpoint import catalog, writer
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.lease import Lease
from trainer.clock import Clock
from trainer.contract.job import Job
from trainer.contract.messages import Saved, SaveFailed
from trainer.interval import Habits
from trainer.outcome import LeaveError, fenced
from trainer.state import State

#: a save that is younger needs no other before an evaluation
_RECENT_SECONDS = 60.0
#: a save that failed is tried again after so long, or the spec's own interval if that is shorter
RETRY_SECONDS = 60.0


class Saver:
    """Saves the state of the last finished step, at any time between two optimizer steps."""

    def __init__(
        self,
        job: Job,
        lease: Lease,
        state: State,
        announcer: Announcer,
        clock: Clock,
        *,
        facts: dict[str, Any],
        last: Entry | None,
    ) -> None:
        """``facts`` go into every checkpoint's meta; ``last`` is the one resumed from."""
        self._job = job
        self._lease = lease
        self._state = state
        self._announcer = announcer
        self._clock = clock
        self._facts = facts
        self._last = last
        self._digest = job.spec.digest()
        #: what the next checkpoint replaces, after a rollback
        self._undone: list[str] = []
        self._since = clock.monotonic()
        self._habits = Habits(
            job.spec.checkpoint.most_lost_seconds, job.mtbf_seconds, job.month_bytes
        )
        self._wait_seconds = job.spec.checkpoint.every_seconds or interval.FIRST_SECONDS
        #: of the last save, and of the last step with all that stood between it and the next
        self._save_seconds = 0.0
        self._failed_last = False
        self._told_of_wear = False
        self._step_seconds = 0.0
        self._looked = clock.monotonic()

    @property
    def saved_step(self) -> int:
        return self._last.step if self._last else 0

    @property
    def name(self) -> str:
        """The newest checkpoint; empty when there is none."""
        return self._last.name if self._last else ""

    def is_due(self) -> bool:
        """Whether the schedule wants one now: by time or by steps, and with something new."""
        now = self._clock.monotonic()
        self._step_seconds, self._looked = now - self._looked, now
        new_steps = self._state.step - self.saved_step
        if new_steps == 0:
            return False
        every_steps = self._job.spec.checkpoint.every_steps
        by_steps = every_steps > 0 and self._state.step % every_steps == 0
        return by_steps or self._is_time()

    def _is_time(self) -> bool:
        if self._job.spec.checkpoint.every_seconds or self._failed_last:
            return self._age_seconds() >= self._wait_seconds
        return interval.is_due(
            self._age_seconds(),
            self._wait_seconds,
            self._step_seconds,
            self._save_seconds,
            self._habits.most_lost_seconds,
        )

    def is_recent(self) -> bool:
        """Whether hardly anything would be lost if the next minutes failed."""
        return self._state.step == self.saved_step or self._age_seconds() < _RECENT_SECONDS

    def save(self, reason: str, request: str = "") -> bool:
        """Save, or answer with the checkpoint of this very step if it is still whole.

        False when that failed: training goes on, and SaveFailed has been said. Raises LeaveError
        when a newer attempt owns the run.
        """
        before = self._announcer.current
        self._announcer.phase("checkpoint", reason)
        begin = self._clock.monotonic()
        done = False
        try:
            entry = self._existing() or self._write(reason)
        except writer.SaveError as error:
            self._failed(reason, request, error.kind, str(error))
            if error.kind == "fenced":
                raise LeaveError(fenced(str(error))) from error
        else:
            self._set_aside(self._undone)
            self._undone = []
            self._saved(entry, reason, request, self._clock.monotonic() - begin)
            done = True
        self._announcer.phase(before.phase, before.detail, before.fraction)
        return done

    def went_back(self, target: Entry | None, undone: list[str]) -> str:
        """Commit the state of ``target`` anew, with all that was decided since; its name.

        The commit is the decision to go back: it names the checkpoints that it replaces, which
        are then set aside. Empty when it failed; the next save that succeeds is the commit then.
        """
        self._last = target
        self._undone = undone
        if self.save("rollback"):
            return self.name
        self._set_aside([name for name in undone if target is None or name != target.name])
        return ""

    def _set_aside(self, names: list[str]) -> None:
        # what cannot be renamed now is set aside at the next start
        with contextlib.suppress(OSError):
            catalog.undo(Path(self._job.run_dir), names)

    def _existing(self) -> Entry | None:
        last = self._last
        if last is None or last.step != self._state.step or self._undone:
            return None
        return last if catalog.verify(last.path).ok else None

    def _write(self, reason: str) -> Entry:
        return writer.save(
            Path(self._job.run_dir),
            self._state.files(),
            {**self._state.meta(), **self._facts, catalog.UNDONE: self._undone},
            run=self._job.spec.name,
            step=self._state.step,
            reason=reason,
            lease=self._lease,
            spec_digest=self._digest,
            parent=self._last.name if self._last else None,
            clock=self._clock,
        )

    def _saved(self, entry: Entry, reason: str, request: str, seconds: float) -> None:
        self._last = entry
        self._since = self._clock.monotonic()
        self._failed_last = False
        self._save_seconds = seconds
        self._wait_seconds = self._job.spec.checkpoint.every_seconds or interval.best_seconds(
            seconds, entry.size_bytes, self._habits
        )
        self._tell_of_wear(entry)
        self._announcer.say(
            Saved(entry.step, entry.name, entry.size_bytes, seconds, reason, request)
        )

    def _tell_of_wear(self, entry: Entry) -> None:
        allowed, most = self._habits.month_bytes, self._habits.most_lost_seconds
        if self._told_of_wear or not allowed or self._job.spec.checkpoint.every_seconds:
            return
        written = interval.month_bytes(min(self._wait_seconds, most), entry.size_bytes)
        if written > 1.01 * allowed:
            self._told_of_wear = True
            self._announcer.notice(
                "ssd_wear",
                f"losing less than {most:.0f} s at a power cut takes {written / 1e12:.1f} TB of "
                f"writes a month, more than the {allowed / 1e12:.1f} TB that are allowed; raise "
                "checkpoint.most_lost_seconds in the spec, or ssd_terabytes_per_month",
            )

    def _failed(self, reason: str, request: str, kind: str, message: str) -> None:
        self._since = self._clock.monotonic()
        self._failed_last = True
        self._wait_seconds = min(
            self._job.spec.checkpoint.every_seconds or RETRY_SECONDS, RETRY_SECONDS
        )
        self._announcer.say(SaveFailed(self._state.step, reason, message, request, kind))

    def _age_seconds(self) -> float:
        return self._clock.monotonic() - self._since
