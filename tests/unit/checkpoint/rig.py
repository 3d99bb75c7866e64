"""Small things that the checkpoint tests share: a clock, tensors, a save."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.unit.checkpoint.plain import CREATED
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.disk import REAL, Disk
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.writer import save


class StillClock:
    """A clock that moves only when somebody sleeps; ``on_sleep`` sees each sleep."""

    def __init__(self, on_sleep: Callable[[], None] = lambda: None) -> None:
        self._seconds = 100.0
        self._on_sleep = on_sleep

    def now(self) -> datetime:
        return CREATED

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        self._seconds += seconds
        self._on_sleep()


def state(seed: int) -> dict[str, dict[str, Tensor]]:
    """A model and an optimizer that differ from seed to seed."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "model": {
            "h.0.weight": torch.randn(7, 5, generator=generator),
            "lm_head": torch.randn(3, generator=generator).to(torch.bfloat16),
        },
        "optimizer": {"step": torch.tensor(seed), "m": torch.randn(7, 5, generator=generator)},
    }


def same(left: dict[str, dict[str, Tensor]], right: dict[str, dict[str, Tensor]]) -> bool:
    """Whether both hold the same tensors, byte for byte."""
    return left.keys() == right.keys() and all(
        left[file].keys() == right[file].keys()
        and all(same_tensor(left[file][name], right[file][name]) for name in left[file])
        for file in left
    )


def same_tensor(left: Tensor, right: Tensor) -> bool:
    def raw(tensor: Tensor) -> Tensor:
        return tensor.detach().contiguous().reshape(-1).view(torch.uint8)

    return (left.dtype, left.shape) == (right.dtype, right.shape) and torch.equal(
        raw(left), raw(right)
    )


def save_step(
    run_dir: Path,
    step: int,
    lease: Lease,
    *,
    files: dict[str, dict[str, Tensor]] | None = None,
    meta: dict[str, Any] | None = None,
    disk: Disk = REAL,
    chunk_bytes: int = 1 << 20,
) -> Entry:
    """Save ``files``, or ``state(step)``."""
    return save(
        run_dir,
        files or state(step),
        meta or {"micro": step},
        run="toy",
        step=step,
        reason="schedule",
        lease=lease,
        spec_digest="cafe",
        parent=None,
        clock=StillClock(),
        disk=disk,
        chunk_bytes=chunk_bytes,
    )
