"""One recipe's step at a time, with the trainer's own parts, for speed and live bytes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.announce import Announcer
from trainer.checkpoint.lease import Lease
from trainer.clock import SystemClock
from trainer.contract import spec as run_spec
from trainer.contract.job import Job
from trainer.desk import Desk
from trainer.link import ScriptedLink
from trainer.start import assemble


class Timed:
    """A run that has just begun and computes a step whenever it is told to."""

    def __init__(self, spec: dict[str, Any], runs: Path, data: Path, name: str) -> None:
        self.name = name
        clock = SystemClock()
        job = Job(run_spec.from_dict(spec), 1, str(runs / spec["name"]), str(data))
        announcer = Announcer(ScriptedLink(), clock)
        desk = Desk(ScriptedLink(), announcer, clock)
        self._lease = Lease.take(Path(job.run_dir), 1, clock=clock)
        parts = assemble(job, self._lease, desk, announcer, clock)
        self._stepper = parts.stepper
        self._speeds: list[float] = []
        self._bytes: dict[str, int] = {}
        state, update = parts.state, parts.state.optimizer.step

        def look_and_update(step: int, steps: int) -> float:
            """Gradients are there only until the update has used them."""
            self._see(asdict(state.live_bytes()))
            return update(step, steps)

        parts.state.optimizer.step = look_and_update  # type: ignore[method-assign] # looks on

    def step(self) -> None:
        """One optimizer step."""
        self._speeds.append(self._stepper.run().tokens_per_second)

    def figures(self, skip: int) -> dict[str, Any]:
        """Tokens/s of all steps but the first ones, and the most bytes of each category."""
        return {"tokens_per_second": self._speeds[skip:], "live_bytes": self._bytes}

    def close(self) -> None:
        """Give the run up."""
        self._lease.release()

    def _see(self, found: dict[str, int]) -> None:
        for name, size in found.items():
            self._bytes[name] = max(size, self._bytes.get(name, 0))
