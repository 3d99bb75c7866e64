"""Job: one attempt at a run, as the supervisor orders it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from trainer.contract import spec as run_spec
from trainer.contract.spec import RunSpec


@dataclass(frozen=True)
class Guardian:
    """A process without which the trainer must not live on.

    ``start_ticks`` is field 22 of /proc/PID/stat: a reused pid has another one.
    """

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Job:
    """One life of the trainer on a run."""

    spec: RunSpec
    #: the fencing token: grows with every attempt at the run
    attempt: int
    #: the run's own directory: pinned record, lock, checkpoints
    run_dir: str
    #: prepared corpora and tokenizers, shared by all runs
    data_dir: str
    #: Unix socket of the engine process
    socket: str = ""
    guardians: tuple[Guardian, ...] = ()
    #: mean time between the failures of this run so far; 0: nobody knows
    mtbf_seconds: float = 0.0
    #: bytes that its checkpoints may write in 30 days; 0: no limit
    month_bytes: float = 0.0
    #: whether an earlier attempt at this very run has computed; what it left in memory is the run's
    goes_on: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; ``from_dict`` reads it back."""
        return dataclasses.asdict(self)


def from_dict(plain: dict[str, Any]) -> Job:
    """Read back what ``Job.to_dict`` wrote."""
    return Job(
        spec=run_spec.from_dict(plain["spec"]),
        attempt=int(plain["attempt"]),
        run_dir=plain["run_dir"],
        data_dir=plain["data_dir"],
        socket=plain["socket"],
        guardians=tuple(Guardian(**guardian) for guardian in plain["guardians"]),
        mtbf_seconds=float(plain["mtbf_seconds"]),
        month_bytes=float(plain["month_bytes"]),
        goes_on=bool(plain["goes_on"]),
    )
