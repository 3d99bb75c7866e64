"""Flight: one save on its way from memory to the disk, while training goes on.

From a slot, where one fits: training waits for nothing but the copy. Through a ring where none
does: an update waits until the ring has taken all of the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trainer.checkpoint import catalog, safetensor
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.format import DamagedError, Manifest
from trainer.checkpoint.scribe import Answer, Order
from trainer.clock import Clock
from trainer.handover import Handover
from trainer.inflow import Inflow
from trainer.snapshots import Snapshots

_LOOK_SECONDS = 1.0
#: a writer that has said nothing for so long, and a second more for so many bytes, hangs
_PATIENCE_SECONDS = 120.0
_SLOWEST_BYTES_PER_SECOND = 10e6
#: what a ring has not taken so long after the trainer's end is abandoned
_LEAVE_SECONDS = 20.0


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
        self, run_dir: Path, snapshots: Snapshots, inflow: Inflow, handover: Handover, clock: Clock
    ) -> None:
        self._run_dir = run_dir
        self._snapshots = snapshots
        self._inflow = inflow
        self._handover = handover
        self._clock = clock
        self.is_on = False
        self._step = 0
        self._reason = ""
        self._began = 0.0
        #: the sum of all waiting before this one
        self._stalled_before = 0.0
        #: the slot that is being written; None while it is still being filled, or by a ring
        self._slot: Entry | None = None
        self._by_ring = False
        self._size_bytes = 0
        self._ordered = 0.0
        #: what is said in the place of a writer that was killed because it hung
        self._given_up: Answer | None = None

    def begin(self, step: int, reason: str) -> None:
        """Set off with the state of ``step``, which is in a slot or about to be."""
        self._set_off(step, reason, by_ring=False)

    def stream(self, files: Mapping[str, Mapping[str, Tensor]], manifest: Manifest) -> bool:
        """Set off through a ring; False where that cannot be, and why has been told.

        The state must not change while this ``takes``.
        """
        begin = self._clock.monotonic()
        size = sum(safetensor.size_bytes(tensors) for tensors in files.values())
        inlet = self._inflow.open(size)
        if inlet is None:
            return False
        try:
            self._handover.stream(inlet)
        except OSError as error:
            inlet.close()
            self._inflow.go_without(f"the writer process does not start: {error}")
            return False
        self._set_off(manifest.step, manifest.reason, by_ring=True)
        self._size_bytes, self._ordered = size, self._began
        self._inflow.begin(inlet, files, manifest)
        self._inflow.count_stall(begin)
        return True

    @property
    def takes(self) -> bool:
        """Whether a ring has not taken all of the state yet: nothing in it may change."""
        return self._inflow.is_on

    def press(self) -> None:
        """Wait a moment for the ring to take the rest, as the update does now."""
        self._handover.hurry()
        if not self._inflow.wait(_LOOK_SECONDS):
            self._give_up_if_it_hangs()

    def look(self, parent: str, *, wait: bool = False) -> Landed | None:
        """How it ended, or None while it has not; ``wait`` waits a moment for that.

        Args:
            parent: the newest checkpoint on the disk.
        """
        if not self.is_on:
            return None
        if self._slot is None and not self._by_ring:
            if self._snapshots.is_copying and not wait:
                return None
            self._snapshots.join()
            if (failed := self._order(parent)) is not None:
                return failed
        if wait:
            self._handover.hurry()
            self._inflow.wait(_LOOK_SECONDS)
        if self._given_up is None:
            pause = _LOOK_SECONDS if wait and not self.takes else 0.0
            answer = self._handover.answer(pause) or self._give_up_if_it_hangs()
        else:
            answer = self._given_up
        return None if answer is None else self._land(answer)

    def close(self) -> None:
        """The trainer leaves; what was ordered, and what a ring takes soon, is written still."""
        self._inflow.wait(_LEAVE_SECONDS)
        self._inflow.end()
        self._handover.close()

    # --- details ----------------------------------------------------------------------------

    def _set_off(self, step: int, reason: str, *, by_ring: bool) -> None:
        assert not self.is_on, "one at a time"
        self.is_on = True
        self._step, self._reason, self._slot, self._by_ring = step, reason, None, by_ring
        self._given_up = None
        self._began = self._clock.monotonic()
        self._stalled_before = self._stall_seconds()

    def _stall_seconds(self) -> float:
        return self._snapshots.stall_seconds + self._inflow.stall_seconds

    def _order(self, parent: str) -> Landed | None:
        slot = self._snapshots.of(self._step)
        if slot is None:
            # why, the snapshots have told
            return self._end(kind="io", message="the state could not be copied to memory")
        self._slot, self._size_bytes = slot, slot.size_bytes
        self._ordered = self._clock.monotonic()
        self._snapshots.pin(slot.path)
        try:
            self._handover.order(Order(str(slot.path), self._reason, parent or None))
        except OSError as error:
            return self._end(kind="io", message=f"the writer process does not start: {error}")
        return None

    def _give_up_if_it_hangs(self) -> Answer | None:
        patience = _PATIENCE_SECONDS + self._size_bytes / _SLOWEST_BYTES_PER_SECOND
        if self._clock.monotonic() - self._ordered > patience:
            self._handover.give_up()
            self._inflow.end()
            self._given_up = Answer(kind="io", message="the writer process hangs; it was killed")
        return self._given_up

    def _land(self, answer: Answer) -> Landed:
        if self._by_ring:
            # the writer has left its end of the ring, and with the process its memory goes
            begin = self._clock.monotonic()
            self._inflow.end()
            self._handover.close()
            self._inflow.count_stall(begin)
        if answer.kind:
            if self._slot is not None and answer.kind == "damaged":
                self._snapshots.invalidate(self._slot.path)
            ours = self._inflow.problem if self._by_ring else ""
            return self._end(kind=answer.kind, message=ours or answer.message)
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
            stall_seconds=self._stall_seconds() - self._stalled_before,
            began=self._began,
            kind=kind,
            message=message,
        )
