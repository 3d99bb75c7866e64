"""Inflow: a state on its way into the ring, beside the next step, where no slot fits into memory.

Weights and optimizer state do not change while the next step's gradients add up, so a thread passes
them on meanwhile; the update after it waits until the ring has taken all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trainer.announce import Announcer
from trainer.checkpoint import host_memory, ring, snapshot
from trainer.checkpoint.format import Manifest
from trainer.checkpoint.ring import Inlet
from trainer.clock import Clock

_MIB = 1 << 20


class Inflow:
    """Passes one state at a time into a ring. All calls come from one thread."""

    def __init__(self, device: torch.device, announcer: Announcer, clock: Clock) -> None:
        self._device = device
        self._announcer = announcer
        self._clock = clock
        self._told: set[str] = set()
        self._inlet: Inlet | None = None
        #: brings what is queued on the device now to the host
        self._fetch: Callable[[Tensor], Tensor] = Tensor.cpu
        self._thread: threading.Thread | None = None
        #: what went wrong on our side, not the writer's; empty when nothing did
        self.problem = ""
        #: seconds that training has waited for rings so far
        self.stall_seconds = 0.0

    def open(self, state_bytes: int) -> Inlet | None:
        """A ring for a state of that size; None where there is no room for one, which is told."""
        self._fetch = snapshot.fetch_of(self._device)
        available = host_memory.read().available
        size = ring.size_for(state_bytes, available)
        if not size:
            self.go_without(f"{available // _MIB} MiB of memory are left")
            return None
        try:
            inlet = Inlet(size)
        except OSError as error:
            self.go_without(f"there is no shared memory to be had: {error}")
            return None
        self._tell(
            "saves_by_ring",
            f"no copy of the state is kept in memory: saves go to the disk through a ring of "
            f"{size / _MIB:.0f} MiB while training goes on; an update waits until it has all",
            "info",
        )
        return inlet

    def go_without(self, why: str) -> None:
        """Training has to wait for its saves."""
        self._tell("saves_stop_training", f"training stops while a checkpoint is written: {why}")

    def begin(
        self, inlet: Inlet, files: Mapping[str, Mapping[str, Tensor]], manifest: Manifest
    ) -> None:
        """Begin to pass on a state, which must not change while this ``is_on``."""
        self._inlet, self.problem = inlet, ""
        fetch = self._fetch

        def run() -> None:
            try:
                snapshot.send(inlet, files, manifest, fetch)
            except ConnectionError:
                pass  # why the writer has left, it says itself
            except Exception as error:
                self.problem = f"the state could not be copied: {error}"
            finally:
                inlet.close()

        self._thread = threading.Thread(target=run, name="inflow", daemon=True)
        self._thread.start()

    @property
    def is_on(self) -> bool:
        """Whether the ring has not taken all of the state, and would."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long until the state may change; whether it may."""
        if self._thread is not None and self._thread.is_alive():
            begin = self._clock.monotonic()
            self._thread.join(seconds)
            self.count_stall(begin)
        return not self.is_on

    def count_stall(self, begin: float) -> None:
        """Training has waited for a ring since ``begin``, by the monotonic clock."""
        self.stall_seconds += self._clock.monotonic() - begin

    def end(self) -> None:
        """The state may change: what the ring has not taken is abandoned."""
        if self._thread is None or self._inlet is None:
            return
        self._inlet.abort()
        self._thread.join()
        self._thread = self._inlet = None

    def _tell(self, kind: str, message: str, severity: str = "warning") -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._announcer.notice(kind, message, severity)
