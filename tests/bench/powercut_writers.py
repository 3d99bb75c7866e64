"""The writers whose power is cut: ours and four others, each saving as people use it.

Every writer saves a state of one model tensor and one optimizer tensor whose values follow from
the step alone, so that whoever reads it back can tell a right one from a wrong one. ``write``
waits for a word before each step and says when its save had returned; ``resume`` does what the
tool does by itself after a restart; ``by_hand`` tries one checkpoint after the other, newest
first, as a person would when the tool is stuck.
"""

from __future__ import annotations

import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from tests.unit.checkpoint.rig import StillClock
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.reader import load_newest
from trainer.checkpoint.retention import Policy, retain
from trainer.checkpoint.writer import save

#: numbers in each of the two tensors: 4 MiB
NUMBERS = 1 << 20
MOMENTUM = 0.5
KEPT = 2

#: waits before a step; is told after the save of a step
Wait = Callable[[], None]
Saved = Callable[[int], None]


class NothingThere(Exception):
    """There is no checkpoint that the tool would resume from."""


class WrongState(Exception):
    """What was loaded is not what was saved at that step."""


class Writer(ABC):
    """One way to save and to resume."""

    name: str
    how: str

    @abstractmethod
    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        """Save step after step, until somebody ends this process."""

    @abstractmethod
    def resume(self, root: Path) -> int:
        """The step that a restart goes on from; any exception when it does not."""

    @abstractmethod
    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        """One attempt to load for each checkpoint on the disk, newest first."""


def steps(wait: Wait) -> Iterator[int]:
    """1, 2, 3... as fast as they are asked for."""
    step = 0
    while True:
        wait()
        step += 1
        yield step


def state_at(step: int) -> dict[str, dict[str, Tensor]]:
    """What a plain writer saves."""
    return {
        "model": {"weight": torch.full((NUMBERS,), float(step))},
        "optimizer": {"momentum": torch.full((NUMBERS,), step + 0.5)},
    }


def checked(state: dict[str, Any], step: int) -> int:
    """The step, if all of the state is that step's; raises WrongState."""
    for file, tensors in state_at(step).items():
        for name, tensor in tensors.items():
            if not torch.equal(state[file][name], tensor):
                raise WrongState(f"{file} is not that of step {step}")
    return step


class Ours(Writer):
    name = "homerun"
    how = "trainer.checkpoint: save, then retention keeps 2"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        run_dir = root / "run"
        run_dir.mkdir()
        with Lease.take(run_dir, 1) as lease:
            for step in steps(wait):
                save(
                    run_dir,
                    state_at(step),
                    {},
                    run="bench",
                    step=step,
                    reason="schedule",
                    lease=lease,
                    spec_digest="cafe",
                    parent=None,
                    clock=StillClock(),
                )
                retain(run_dir, Policy(KEPT, 0, 0))
                saved(step)

    def resume(self, root: Path) -> int:
        loaded = load_newest(root / "run", lambda verdict: None)
        if loaded is None:
            raise NothingThere
        return checked(loaded.files, loaded.entry.step)

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        yield lambda: self.resume(root)


class Dcp(Writer):
    name = "torch.distributed.checkpoint"
    how = (
        "dcp.save into a new directory, the one before the last removed; "
        "resumes from the highest step that has a .metadata file"
    )

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        # it says that there is one process only: that is what we asked for
        warnings.simplefilter("ignore")
        for step in steps(wait):
            dcp.save(state_at(step), checkpoint_id=root / f"step-{step}", no_dist=True)
            shutil.rmtree(root / f"step-{step - KEPT}", ignore_errors=True)
            saved(step)

    def resume(self, root: Path) -> int:
        complete = [path for path in by_step(root, "step-*") if (path / ".metadata").is_file()]
        if not complete:
            raise NothingThere
        return self._load(complete[0])

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        for path in by_step(root, "step-*"):
            yield lambda path=path: self._load(path)  # type: ignore[misc] # bound at once

    @staticmethod
    def _load(path: Path) -> int:
        state = state_at(0)
        warnings.simplefilter("ignore")
        dcp.load(state, checkpoint_id=path, no_dist=True)
        return checked(state, _step_of(path))


class OneFile(Writer):
    name = "torch.save, one file"
    how = "torch.save over the same name, as nanoGPT does"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        for step in steps(wait):
            torch.save({"step": step, **state_at(step)}, root / "ckpt.pt")
            saved(step)

    def resume(self, root: Path) -> int:
        return _load_file(root / "ckpt.pt")

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        yield lambda: self.resume(root)


class NewFiles(Writer):
    name = "torch.save, new names"
    how = "torch.save under a new name, the one before the last removed; resumes from the highest"

    def write(self, root: Path, wait: Wait, saved: Saved) -> None:
        for step in steps(wait):
            torch.save({"step": step, **state_at(step)}, root / f"model-{step}.pt")
            (root / f"model-{step - KEPT}.pt").unlink(missing_ok=True)
            saved(step)

    def resume(self, root: Path) -> int:
        found = by_step(root, "model-*.pt")
        if not found:
            raise NothingThere
        return _load_file(found[0])

    def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
        for path in by_step(root, "model-*.pt"):
            yield lambda path=path: _load_file(path)  # type: ignore[misc] # bound at once


def _load_file(path: Path) -> int:
    if not path.exists():
        raise NothingThere
    state = torch.load(path, weights_only=True)  # noqa: TID251 - the rival's own way
    return checked(state, state["step"])


def _step_of(path: Path) -> int:
    return int(path.stem.rsplit("-", 1)[1].rsplit("=", 1)[-1])


def by_step(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern), key=_step_of, reverse=True)
