"""How fast and how hungry the run is, from one snapshot to another. Pure but for its memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain import RunView, Snapshot
from orchestrator.planning.measured import Reading

#: what the trainer does while its speed means something
COMPUTING = ("train", "eval", "checkpoint")
#: a process with the model in memory
LOADED = (*COMPUTING, "paused")
#: the first steps of a process compile and warm up
_WARM_UP_STEPS = 2
#: shorter stretches say more of the moment than of the level
_LEAST_SECONDS = 60.0


@dataclass(frozen=True)
class _Mark:
    """Where a stretch began: just after a step."""

    time: datetime
    step: int
    joules: float
    #: what must not change meanwhile
    key: tuple[int | None, float | None]


class Speedometer:
    """Measures whole steps at one level, in one life, without a break."""

    def __init__(self, batch_tokens: int, least_seconds: float = _LEAST_SECONDS) -> None:
        self._batch_tokens, self._least_seconds = batch_tokens, least_seconds
        self._mark: _Mark | None = None
        self._attempt: int | None = None
        self._first_step: int | None = None
        self._seen_step: int | None = None

    def warm(self, run: RunView) -> bool:
        """Whether the trainer's own speed means something by now; call it at each look."""
        if run.attempt != self._attempt:
            self._attempt, self._first_step = run.attempt, None
        if run.attempt is None or run.phase not in COMPUTING:
            return False
        if self._first_step is None:
            self._first_step = run.step
        return run.step >= self._first_step + _WARM_UP_STEPS

    def look(self, snapshot: Snapshot, limit_watts: float | None) -> Reading | None:
        """A reading when a stretch is long enough; its power is the meter's own, see the caller."""
        run = snapshot.run
        if run is None or not self.warm(run):
            self._mark = self._seen_step = None
            return None
        # A stretch begins and ends where a step has just been done.
        stepped = self._seen_step is not None and run.step > self._seen_step
        self._seen_step = run.step
        key = (run.attempt, limit_watts)
        mark = self._mark
        if mark is not None and (mark.key != key or run.step < mark.step):
            self._mark = mark = None
        if not stepped:
            return None
        seconds = (snapshot.time - mark.time).total_seconds() if mark else 0.0
        if mark is not None and seconds < self._least_seconds:
            return None
        self._mark = _Mark(snapshot.time, run.step, run.energy_joules, key)
        if mark is None:
            return None
        tokens = (run.step - mark.step) * self._batch_tokens
        joules = run.energy_joules - mark.joules
        return Reading(limit_watts, tokens / seconds, joules / seconds if joules else None, seconds)
