"""Flight: one save on its way from memory to the disk, while training goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint import catalog
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.format import DamagedError
from trainer.checkpoint.scribe import Answer, Order
from trainer.clock import Clock
from trainer.handover import Handover
from trainer.snapshots import Snapshots

_LOOK_SECONDS = 1.0
#: a writer that has said nothing for so long, and a second more for so many bytes, hangs
_PATIENCE_SECONDS = 120.0
_SLOWEST_BYTES_PER_SECOND = 10e6


@dataclass(frozen=True)
class Landed:
    """How it ended. ``kind`` is empty when ``entry`` is there, else as in SaveFailed."""

    step: int
    reason: str
    entry: Entry | None
    #: the writer's own time, and what training waited for
    seconds: float
    stall_seconds: float
    #: when the state was the newest, by the monotonic clock
    began: float
    kind: str = ""
    message: str = ""


class Flight:
    """Takes one save at a time; nothing else may be ordered while one ``is_on``."""

    def __init__(
        self, run_dir: Path, snapshots: Snapshots, handover: Handover, clock: Clock
    ) -> None:
        self._run_dir = run_dir
        self._snapshots = snapshots
        self._handover = handover
        self._clock = clock
        self.is_on = False
        self._step = 0
        self._reason = ""
        self._began = 0.0
        #: the sum of all waiting before this one
        self._stalled_before = 0.0
        #: the slot that is being written; None while it is still being filled
        self._slot: Entry | None = None
        self._ordered = 0.0

    def begin(self, step: int, reason: str) -> None:
        """Set off with the state of ``step``, which is in a slot or about to be."""
        assert not self.is_on, "one at a time"
        self.is_on = True
        self._step, self._reason, self._slot = step, reason, None
        self._began = self._clock.monotonic()
        self._stalled_before = self._snapshots.stall_seconds

    def look(self, parent: str, *, wait: bool = False) -> Landed | None:
        """How it ended, or None while it has not; ``wait`` waits a moment for that.

        Args:
            parent: the newest checkpoint on the disk.
        """
        if not self.is_on:
            return None
        if self._slot is None:
            if self._snapshots.is_copying and not wait:
                return None
            self._snapshots.join()
            if (failed := self._order(parent)) is not None:
                return failed
        if wait:
            self._handover.hurry()
        answer = self._handover.answer(_LOOK_SECONDS if wait else 0.0)
        if answer is None and self._hangs():
            self._handover.give_up()
            answer = Answer(kind="io", message="the writer process hangs; it was killed")
        return None if answer is None else self._land(answer)

    def close(self) -> None:
        """The trainer leaves; what was ordered is written still."""
        self._handover.close()

    # --- details ----------------------------------------------------------------------------

    def _order(self, parent: str) -> Landed | None:
        slot = self._snapshots.of(self._step)
        if slot is None:
            # why, the snapshots have told
            return self._end(kind="io", message="the state could not be copied to memory")
        self._slot = slot
        self._ordered = self._clock.monotonic()
        self._snapshots.pin(slot.path)
        try:
            self._handover.order(Order(str(slot.path), self._reason, parent or None))
        except OSError as error:
            return self._end(kind="io", message=f"the writer process does not start: {error}")
        return None

    def _hangs(self) -> bool:
        assert self._slot is not None
        patience = _PATIENCE_SECONDS + self._slot.size_bytes / _SLOWEST_BYTES_PER_SECOND
        return self._clock.monotonic() - self._ordered > patience

    def _land(self, answer: Answer) -> Landed:
        assert self._slot is not None
        if answer.kind:
            if answer.kind == "damaged":
                self._snapshots.invalidate(self._slot.path)
            return self._end(kind=answer.kind, message=answer.message)
        try:
            entry = catalog.examine(catalog.checkpoints_dir(self._run_dir) / answer.name)
        except (DamagedError, OSError) as error:
            return self._end(kind="io", message=f"what was saved cannot be found again: {error}")
        return self._end(entry=entry, seconds=answer.seconds)

    def _end(
        self,
        entry: Entry | None = None,
        seconds: float = 0.0,
        kind: str = "",
        message: str = "",
    ) -> Landed:
        self.is_on = False
        self._snapshots.pin(None)
        return Landed(
            step=self._step,
            reason=self._reason,
            entry=entry,
            seconds=seconds,
            stall_seconds=self._snapshots.stall_seconds - self._stalled_before,
            began=self._began,
            kind=kind,
            message=message,
        )
