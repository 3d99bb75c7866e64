"""Snapshots: the state of each finished step in memory that no kill takes away.

Weights and optimizer state do not change while the next step's gradients add up, so a thread
copies them meanwhile; the update after it waits for the copy, which as a rule is long done.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainer.announce import Announcer
from trainer.checkpoint import safetensor, slots, snapshot
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.disk import REAL, remove_tree
from trainer.checkpoint.format import Manifest
from trainer.clock import Clock

#: after a copy the next one waits three times as long, so that steps of fractions of a second
#: are not slowed down by more than they could ever lose
_PAUSES = 3.0
_GB = 1e9


class Snapshots:
    """Fills slots in shared memory, one at a time. All calls come from one thread."""

    def __init__(
        self, run_dir: Path, device: torch.device, announcer: Announcer, clock: Clock, *, on: bool
    ) -> None:
        self._run_dir = run_dir
        self._device = device
        self._announcer = announcer
        self._clock = clock
        self._on = on
        self._told = False
        #: what the slots are counted for
        self._state_bytes = -1
        self._names: list[str] = []
        self._thread: threading.Thread | None = None
        self._target = Path()
        self._step = -1
        self._result: Entry | OSError | None = None
        #: a slot that must stay as it is
        self._pinned: Path | None = None
        #: the whole slots by path, as far as this attempt filled or found them
        self._whole: dict[Path, Entry] = {}
        self._began = self._ended = clock.monotonic()
        #: seconds that training has waited for copies so far
        self.stall_seconds = 0.0

    def found(self, entry: Entry) -> None:
        """An earlier attempt has left this one, and training goes on from it."""
        self._whole[entry.path] = entry

    def take(
        self,
        files: Mapping[str, Mapping[str, Tensor]],
        manifest: Manifest,
        *,
        must: bool = False,
    ) -> None:
        """Begin to copy the state of a step, which must not change before ``join`` has returned.

        Left out where there is no room, while the only slot is being written to the disk, and,
        unless it ``must`` be, so soon after the last one that it would cost more than it is worth.
        """
        self.join()
        if not self._on or not (must or self._has_time()):
            return
        target = self._next_slot(sum(safetensor.size_bytes(one) for one in files.values()))
        if target is None:
            return
        self._whole.pop(target, None)
        self._target, self._step, self._result = target, manifest.step, None
        self._began = self._clock.monotonic()
        fetch = snapshot.fetch_of(self._device)

        def copy() -> None:
            try:
                self._result = snapshot.fill(target, files, manifest, fetch)
            except OSError as error:
                self._result = error
            self._ended = self._clock.monotonic()

        self._thread = threading.Thread(target=copy, name="snapshot", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the state may change."""
        if self._thread is None:
            return
        begin = self._clock.monotonic()
        self._thread.join()
        self._thread = None
        self.stall_seconds += self._clock.monotonic() - begin
        if isinstance(self._result, Entry):
            self._whole[self._target] = self._result
        else:
            self._go_without(f"copying failed: {self._result}")

    @property
    def is_copying(self) -> bool:
        """Whether ``join`` would wait now."""
        return self._thread is not None and self._thread.is_alive()

    def has(self, step: int) -> bool:
        """Whether the state of ``step`` is in a slot, or will be after ``join``."""
        return (self._thread is not None and self._step == step) or self.of(step) is not None

    def of(self, step: int) -> Entry | None:
        """The whole slot with the state of ``step``, once ``join`` has returned."""
        return next((entry for entry in self._whole.values() if entry.step == step), None)

    @property
    def newest_step(self) -> int:
        """Of the whole slots, once ``join`` has returned; 0 when there is none."""
        return max((entry.step for entry in self._whole.values()), default=0)

    def pin(self, slot: Path | None) -> None:
        """Leave this slot as it is; None: no one any more."""
        self._pinned = slot

    def invalidate(self, slot: Path | None = None) -> None:
        """Nobody is to go on from this slot, or from any of them; the memory is kept."""
        self.join()
        for name in slots.NAMES:
            path = slots.home(self._run_dir) / name
            if slot in (None, path):
                self._whole.pop(path, None)
                with contextlib.suppress(OSError):
                    slots.invalidate(path)

    def give_back(self) -> None:
        """The run has no more use of the slots, for now or for ever."""
        self.join()
        self._whole.clear()
        self._state_bytes = -1
        slots.discard(self._run_dir)

    # --- details ----------------------------------------------------------------------------

    def _has_time(self) -> bool:
        took = self._ended - self._began
        return self._clock.monotonic() - self._ended >= _PAUSES * took

    def _next_slot(self, state_bytes: int) -> Path | None:
        if state_bytes > self._state_bytes:
            try:
                self._make_room(state_bytes)
            except OSError as error:
                self._go_without(str(error))
                return None
        home = slots.home(self._run_dir)
        free = [path for path in map(home.joinpath, self._names) if path != self._pinned]
        # the one that is not whole, else the older one
        ages = {path: entry.step for path, entry in self._whole.items()}
        return min(free, key=lambda path: ages.get(path, -1), default=None)

    def _make_room(self, state_bytes: int) -> None:
        """Count how many slots of that size there may be; called again when the state grows."""
        free = slots.free_bytes(self._run_dir)
        count = slots.count_for(state_bytes, free)
        self._state_bytes = state_bytes
        # what is whole is kept longest
        home = slots.home(self._run_dir)
        names = sorted(slots.NAMES, key=lambda name: home / name not in self._whole)
        self._names = names[:count]
        if not count:
            self._go_without(
                f"the state takes {state_bytes / _GB:.1f} GB, {free / _GB:.1f} GB of shared "
                "memory may be used"
            )
            return
        slots.make_home(self._run_dir)
        for name in names[count:]:
            self._whole.pop(home / name, None)
            if home / name != self._pinned:
                remove_tree(REAL, home / name)

    def _go_without(self, why: str) -> None:
        self._on = False
        self._names = []
        if not self._told:
            self._told = True
            self._announcer.notice(
                "memory_tier_off",
                f"a kill costs what was computed since the last checkpoint on the disk: {why}",
            )
        self._whole.clear()
        slots.discard(self._run_dir)
