"""Another place in the queue, for a run that waits."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain import Run, RunState
from orchestrator.errors import Refused
from orchestrator.store import Transaction


def prioritize(tx: Transaction, run: Run, priority: int, now: datetime, source: str) -> None:
    """Write it down, in the journal too.

    Raises:
        Refused: the run does not wait.
        Invalid: a priority beyond a million either way.
    """
    if run.state is not RunState.QUEUED:
        raise Refused(
            f"{run.name} does not wait: it is {run.state}",
            "a priority only orders the runs that wait",
        )
    tx.runs.set_priority(run.name, priority)
    tx.journal.write(
        "run_prioritized",
        f"{run.name} waits with priority {priority} (was {run.priority}).",
        now,
        run=run.name,
        data={"source": source},
    )
