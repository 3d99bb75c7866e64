"""What the page asks of the fake backend beside the run itself."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain import JournalEntry, Run, RunState, Sample
from orchestrator.errors import Refused


class FakePage:
    """The queue's order, and the validations of a run."""

    _changed: threading.Condition
    _runs: dict[str, Run]
    _samples: list[Sample]

    if TYPE_CHECKING:

        def run(self, name: str) -> Run: ...

        def write(
            self, kind: str, message: str, *, severity: str = "info", run: str | None = None
        ) -> JournalEntry: ...

    def prioritize(self, run: str, priority: int, source: str) -> Run:
        """See ``Backend.prioritize``."""
        with self._changed:
            known = self.run(run)
            if known.state is not RunState.QUEUED:
                raise Refused(
                    f"{run} does not wait: it is {known.state}",
                    "a priority only orders the runs that wait",
                )
            self._runs[run] = replace(known, priority=priority)
            self.write("run_prioritized", f"{run} waits with priority {priority}.", run=run)
            return self._runs[run]

    def scores(self, run: str) -> dict[int, float]:
        """See ``Backend.scores``."""
        with self._changed:
            mine = self._samples if self.run(run).name == "evening" else []
            return {s.step: s.bits_per_byte for s in mine if s.bits_per_byte is not None}
