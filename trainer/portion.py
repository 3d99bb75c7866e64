"""Portion: how many sequences of a micro-batch are computed at once, when memory is short."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer import record
from trainer.announce import Announcer
from trainer.record import Record

#: the key in a run's environment; there only once a micro-batch has been cut
KEY = "sequences_at_once"
#: what PyTorch's allocator for the CPU says in a plain RuntimeError
_CPU_WORDS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)


class TooLargeError(Exception):
    """Not even one sequence at a time fits into memory."""

    def __init__(self, sequence_length: int) -> None:
        super().__init__(
            f"not even one sequence of {sequence_length} tokens at a time fits into memory"
        )


class Portion:
    """A whole micro-batch, until memory runs out; then half of it, and so on.

    The global batch, its order and the mean of its loss stay; only the order of the sums inside a
    micro-batch changes, and with it the last bits. So the size is kept in the run's record as
    part of its environment, and the next attempts begin with it.
    """

    def __init__(
        self,
        run_dir: Path,
        pinned: Record,
        attempt: int,
        micro_batch: int,
        announcer: Announcer,
        on_change: Callable[[dict[str, Any]], None],
    ) -> None:
        """``on_change`` hears of the new environment."""
        self._run_dir = run_dir
        self._pinned = pinned
        self._attempt = attempt
        self._micro_batch = micro_batch
        self._announcer = announcer
        self._on_change = on_change
        #: sequences computed at once
        self.size = min(micro_batch, int(pinned.environment.get(KEY, micro_batch)))

    def shrink(self, sequence_length: int) -> None:
        """Half of it from now on, also in the attempts to come.

        Raises:
            TooLargeError: it is one sequence already.
        """
        if self.size == 1:
            raise TooLargeError(sequence_length)
        before, self.size = self.size, (self.size + 1) // 2
        environment = {**self._pinned.environment, KEY: self.size}
        self._pinned = self._pinned.in_environment(environment, self._attempt)
        # a full disk costs the next attempt one more failed step, no more
        with contextlib.suppress(OSError):
            record.write(self._run_dir, self._pinned)
        self._on_change(environment)
        self._announcer.notice(
            "micro_batch_halved",
            f"memory ran out: the {self._micro_batch} sequences of a micro-batch are computed "
            f"{self.size} at a time instead of {before}; batch and data stay the same, the last "
            "bits of the weights differ from those of a run with more memory",
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's or the machine's memory ran out, whatever the type of the error."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _CPU_WORDS)
