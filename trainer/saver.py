"""Saver: when a checkpoint is due, and taking it.

A save that is due by schedule goes on beside the training: the slot with the state is given to the
scribe, or where no slot fits the state goes to it through a ring. All others keep training waiting
until they are durable, because somebody waits for that.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

from trainer import interval
from trainer.announce import Announcer
from trainer.checkpoint import catalog, writer
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.format import Manifest
from trainer.checkpoint.lease import Fenced, Lease
from trainer.clock import Clock
from trainer.contract.job import Job
from trainer.contract.messages import Saved, SaveFailed
from trainer.flight import Flight, Landed
from trainer.handover import Handover
from trainer.inflow import Inflow
from trainer.interval import Habits
from trainer.interval_telling import IntervalTelling
from trainer.outcome import LeaveError, fenced, removed
from trainer.resume import Resumed
from trainer.snapshots import Snapshots
from trainer.state import State

#: a save that is younger needs no other before an evaluation
_RECENT_SECONDS = 60.0
#: a save that failed is tried again after so long, or the spec's own interval if that is shorter
RETRY_SECONDS = 60.0
#: a state that a disk takes in a fraction of a second is not worth a process
_SMALL_BYTES = 64 << 20


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
        resumed: Resumed,
    ) -> None:
        """``facts`` go into every checkpoint's meta."""
        self._job = job
        self._lease = lease
        self._state = state
        self._announcer = announcer
        self._clock = clock
        self._facts = facts
        self._last = resumed.last
        self._digest = job.spec.digest()
        self._snapshots = Snapshots(
            Path(job.run_dir), state.device, announcer, clock, on=job.spec.checkpoint.ram != "off"
        )
        inflow = Inflow(state.device, announcer, clock)
        self._flight = Flight(
            Path(job.run_dir), self._snapshots, inflow, Handover(job, clock), clock
        )
        #: what the next checkpoint replaces, after a rollback
        self._undone: list[str] = []
        #: when all was saved last; a state that is only in memory is overdue
        self._since = clock.monotonic()
        if resumed.slot is not None:
            self._snapshots.found(resumed.slot)
            self._since = -math.inf
        self._habits = Habits(
            job.spec.checkpoint.most_lost_seconds, job.mtbf_seconds, job.month_bytes
        )
        self._wait_seconds = job.spec.checkpoint.every_seconds or interval.FIRST_SECONDS
        #: of the last save, and of the last step with all that stood between it and the next
        self._save_seconds = 0.0
        self._failed_last = False
        self._told_of_wear = False
        self._telling = IntervalTelling(job.spec.checkpoint, announcer)
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
        if new_steps == 0 or self._flight.is_on:
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

    def finished_step(self) -> None:
        """The state is that of one more step: have it copied while it does not change."""
        self._snapshots.take(self._state.files(), self._manifest("memory"))

    def before_update(self) -> None:
        """Returns when the state may change."""
        self._snapshots.join()
        if self._flight.takes:
            self._await_ring()
        self.collect()

    def begin(self, reason: str) -> None:
        """Have the state saved while training goes on; save it now where that cannot be."""
        if self._goes_beside():
            if not self._snapshots.has(self._state.step):
                self._snapshots.take(self._state.files(), self._manifest("memory"), must=True)
            if self._snapshots.has(self._state.step):
                self._flight.begin(self._state.step, reason)
                return
            if self._flight.stream(self._state.files(), self._manifest(reason)):
                return
        self.save(reason)

    def _await_ring(self) -> None:
        before = self._announcer.current
        self._announcer.phase("checkpoint", "waiting for the writer to take the state")
        while self._flight.takes:
            self._flight.press()
            self._announcer.repeat_phase()
        self._announcer.phase(before.phase, before.detail, before.fraction)

    def collect(self) -> None:
        """Say what has become of the save that goes on beside the training, if it is done.

        Raises LeaveError when a newer attempt owns the run.
        """
        landed = self._flight.look(self.name)
        if landed is not None:
            self._land(landed)

    def settle(self) -> None:
        """Wait for the save that goes on beside the training, and say what became of it."""
        if not self._flight.is_on:
            return
        before = self._announcer.current
        self._announcer.phase("checkpoint", "waiting for the writer")
        while (landed := self._flight.look(self.name, wait=True)) is None:
            self._announcer.repeat_phase()
        self._land(landed)
        self._announcer.phase(before.phase, before.detail, before.fraction)

    def keep_in_memory(self) -> int:
        """See that a slot in memory has what no save could take; its step, 0 when there is none."""
        if not self._snapshots.has(self._state.step):
            self._snapshots.take(self._state.files(), self._manifest("memory"), must=True)
        self._snapshots.join()
        newest = self._snapshots.newest_step
        return newest if newest > self.saved_step else 0

    def let_go(self) -> None:
        """The state is about to be replaced by an older one: nothing newer is to stay in memory.

        Raises Fenced first where this attempt has nothing to say any more.
        """
        self._lease.check()
        self.settle()
        self._snapshots.invalidate()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """The attempt ends; a state in memory that is saved too gives its room back.

        It stays where it is the only one, and where the attempt ends as nobody wanted.
        """
        self._flight.close()
        self._snapshots.join()
        orderly = kind is None or issubclass(kind, LeaveError)
        with contextlib.suppress(Fenced, OSError):
            self._lease.check()
            if orderly and self.saved_step == self._state.step:
                self._snapshots.give_back()

    def save(self, reason: str, request: str = "") -> bool:
        """Save, or answer with the checkpoint of this very step if it is still whole.

        False when that failed: training goes on, and SaveFailed has been said. Raises LeaveError
        when a newer attempt owns the run.
        """
        self.settle()
        before = self._announcer.current
        self._announcer.phase("checkpoint", reason)
        begin = self._clock.monotonic()
        done = False
        try:
            entry = self._existing() or self._write(reason)
        except writer.SaveError as error:
            self._failed(reason, request, error.kind, str(error))
            self._leave_if_fenced(error.kind, str(error))
        else:
            self._set_aside(self._undone)
            self._undone = []
            now = self._clock.monotonic()
            self._saved(entry, reason, request, now - begin, stall_seconds=now - begin, since=now)
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

    def _goes_beside(self) -> bool:
        chosen = self._job.spec.checkpoint.writer
        if chosen != "auto":
            return chosen == "process"
        return self._state.kept_bytes() >= _SMALL_BYTES

    def _meta(self) -> dict[str, Any]:
        return {**self._state.meta(), **self._facts, catalog.UNDONE: self._undone}

    def _manifest(self, reason: str) -> Manifest:
        return Manifest(
            run=self._job.spec.name,
            step=self._state.step,
            attempt=self._lease.token,
            created=self._clock.now(),
            reason=reason,
            parent=self.name or None,
            spec_digest=self._digest,
            meta=self._meta(),
        )

    def _write(self, reason: str) -> Entry:
        return writer.save(
            Path(self._job.run_dir),
            self._state.files(),
            self._meta(),
            run=self._job.spec.name,
            step=self._state.step,
            reason=reason,
            lease=self._lease,
            spec_digest=self._digest,
            parent=self.name or None,
            clock=self._clock,
        )

    def _land(self, landed: Landed) -> None:
        if landed.entry is not None:
            self._set_aside(self._undone)
            self._undone = []
            self._saved(
                landed.entry,
                landed.reason,
                "",
                landed.seconds,
                stall_seconds=landed.stall_seconds,
                since=landed.began,
            )
            return
        self._failed(landed.reason, "", landed.kind, landed.message, landed.step)
        self._leave_if_fenced(landed.kind, landed.message)

    def _leave_if_fenced(self, kind: str, message: str) -> None:
        if kind == "fenced":
            raise LeaveError(fenced(message))
        if kind == "removed":
            raise LeaveError(removed(message, self.keep_in_memory()))

    def _saved(
        self,
        entry: Entry,
        reason: str,
        request: str,
        seconds: float,
        *,
        stall_seconds: float,
        since: float,
    ) -> None:
        self._last = entry
        self._since = since
        self._failed_last = False
        self._save_seconds = seconds
        wish = self._job.spec.checkpoint.every_seconds
        choice = interval.choose(stall_seconds, entry.size_bytes, self._habits)
        self._wait_seconds = wish or choice.seconds
        self._tell_of_wear(entry)
        self._announcer.say(
            Saved(entry.step, entry.name, entry.size_bytes, seconds, reason, request, stall_seconds)
        )
        self._telling.tell(choice, self._step_seconds, seconds)

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

    def _failed(
        self, reason: str, request: str, kind: str, message: str, step: int | None = None
    ) -> None:
        step = self._state.step if step is None else step
        self._since = self._clock.monotonic()
        self._failed_last = True
        self._wait_seconds = min(
            self._job.spec.checkpoint.every_seconds or RETRY_SECONDS, RETRY_SECONDS
        )
        self._announcer.say(SaveFailed(step, reason, message, request, kind))

    def _age_seconds(self) -> float:
        return self._clock.monotonic() - self._since
