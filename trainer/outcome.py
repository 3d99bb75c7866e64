"""How an attempt ends: its last event and its exit code."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainer.checkpoint.lease import Fenced, Locked, Removed
from trainer.contract.messages import Failed, Finished, Stopped
from trainer.data import DataError
from trainer.environment import NoDeviceError
from trainer.health import DivergedError
from trainer.portion import TooLargeError
from trainer.record import RecordError, SpecChangedError
from trainer.state import StateError
from trainer.supply import TooLittleDataError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_LOCKED = 75
EXIT_FENCED = 77
EXIT_SPEC = 78

_GIB = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """The last event of an attempt and the exit code of its process."""

    event: Finished | Stopped | Failed
    code: int = EXIT_OK


class LeaveError(Exception):
    """Ends an attempt from wherever it stands, with everything worth saving saved."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(str(outcome.event))


class DatasetChangedError(Exception):
    """The corpus prepared anew is not the one that the run was started with."""


def fenced(message: str) -> Outcome:
    """A newer attempt owns the run; nothing of this one may reach the disk any more."""
    return Outcome(Failed("fenced", message, retry=False), EXIT_FENCED)


def removed(message: str, memory_step: int = 0) -> Outcome:
    """The run's directory was deleted; the next attempt makes it anew."""
    then = "nothing of this attempt is left"
    if memory_step:
        then = f"step {memory_step} is in memory, from where it goes on and saves anew"
    return Outcome(Failed("removed", f"{message}; {then}"), EXIT_FAILED)


def explain(error: Exception) -> Outcome:
    """The outcome of an attempt that ended in ``error``, in words that name what to do."""
    match error:
        case LeaveError():
            return error.outcome
        case Removed():
            return removed(str(error))
        case Fenced():
            return fenced(str(error))
        case Locked():
            return Outcome(Failed("locked", str(error)), EXIT_LOCKED)
        case SpecChangedError():
            return Outcome(Failed("spec_changed", str(error), retry=False), EXIT_SPEC)
        case DatasetChangedError():
            return Outcome(Failed("dataset_changed", str(error), retry=False), EXIT_FAILED)
        case RecordError():
            return Outcome(Failed("record", str(error), retry=False), EXIT_FAILED)
        case StateError():
            return Outcome(Failed("state", str(error), retry=False), EXIT_FAILED)
        case NoDeviceError():
            return Outcome(Failed("no_device", str(error)), EXIT_FAILED)
        case TooLittleDataError():
            return Outcome(Failed("too_little_data", str(error), retry=False), EXIT_FAILED)
        case DataError():
            return Outcome(Failed("data", str(error)), EXIT_FAILED)
        case DivergedError():
            return Outcome(Failed("diverged", str(error), retry=False), EXIT_FAILED)
        case TooLargeError():
            where = _no_gpu_memory() if torch.cuda.is_available() else _no_memory()
            return Outcome(Failed("out_of_memory", f"{error}: {where}"), EXIT_FAILED)
        case torch.OutOfMemoryError():
            return Outcome(Failed("out_of_memory", _no_gpu_memory()), EXIT_FAILED)
        case MemoryError():
            return Outcome(Failed("out_of_memory", _no_memory()), EXIT_FAILED)
        case OSError():
            return Outcome(Failed("io", f"{type(error).__name__}: {error}"), EXIT_FAILED)
    return Outcome(Failed("error", f"{type(error).__name__}: {error}"), EXIT_FAILED)


def _no_gpu_memory() -> str:
    advice = (
        "close what else uses the GPU, or start a run with a leaner train.precision, "
        "a shorter sequence_length or fewer layers"
    )
    if not torch.cuda.is_available():
        return f"the device's memory is full; {advice}"
    free, total = torch.cuda.mem_get_info()
    ours = torch.cuda.max_memory_reserved()
    return (
        f"the GPU's memory is full: {total / _GIB:.1f} GiB in all, {free / _GIB:.1f} GiB free, "
        f"this run took up to {ours / _GIB:.1f} GiB; {advice}"
    )


def _no_memory() -> str:
    return "the machine's memory is full; close other programs or start a smaller run"
