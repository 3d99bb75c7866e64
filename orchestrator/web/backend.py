"""What the web side asks of the daemon. Every method may be called from any thread."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from orchestrator.domain import (
    Attempt,
    Checkpoint,
    Hold,
    JournalEntry,
    Run,
    Sample,
    ShelvedCheckpoint,
    Snapshot,
)
from orchestrator.ledger.summary import By, EnergySummary
from orchestrator.piloting.goals import Goal, RunGoal
from orchestrator.piloting.schedule_report import CurveReport, ScheduleReport
from orchestrator.power.profiler import Profiling
from orchestrator.surroundings import Surroundings
from orchestrator.tariff.report import PricesReport
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.retention import Choice


class Backend(Protocol):
    """Readers answer from the snapshot or the store; commands are durable when they return.

    Commands raise ``orchestrator.errors``: NotFound, Invalid, Held, Refused, Misconfigured.
    """

    #: measures what the levels of power give
    profiler: Profiling

    def snapshot(self) -> Snapshot: ...

    def wait_for_change(self, seen: datetime | None, timeout_seconds: float) -> Snapshot:
        """The first snapshot taken after ``seen``, or the current one when time is up."""

    def runs(self) -> list[Run]: ...

    def run(self, name: str) -> Run:
        """Raises NotFound, naming the nearest run."""

    def attempts(self, run: str) -> list[Attempt]: ...

    def submit(self, spec: dict[str, Any], priority: int, source: str) -> Run:
        """Raises Misconfigured for a wrong spec, Refused for a name that is taken."""

    def cancel(self, run: str, source: str) -> Run: ...

    def prioritize(self, run: str, priority: int, source: str) -> Run:
        """Raises Refused for a run that does not wait any more."""

    def pause(
        self,
        *,
        run: str | None,
        until: datetime | None,
        release: bool,
        detail: str,
        source: str,
        lasts: bool = False,
    ) -> Hold:
        """Raises Invalid when ``until`` is in the past.

        ``lasts``: a span was asked for; when the clock is set, its end moves with it.
        """

    def arrive(self, *, name: str, until: datetime | None, detail: str) -> Hold:
        """Make room for ``name``, a guest on the card. Raises Invalid."""

    def leave(self, *, name: str) -> bool:
        """He has left; False when he held nothing."""

    def resume(self, *, run: str | None, source: str) -> list[Hold]:
        """End the user's, crash-loop and guests' holds; returns those that still hold."""

    def finish(self, *, run: str | None, detail: str, source: str) -> Hold: ...

    def save_checkpoint(self, source: str) -> Checkpoint:
        """Waits for the commit. Raises Held when no trainer runs, Refused when the save failed."""

    def checkpoints(self, run: str | None) -> list[ShelvedCheckpoint]: ...

    def verify_checkpoints(self, run: str | None, name: str | None) -> list[Verdict]: ...

    def plan_retention(self, run: str | None) -> list[Choice]:
        """What would stay and what would go, and why; nothing changes."""

    def prune(self, run: str | None, source: str) -> list[Choice]:
        """Let go what has no reason to stay; what was decided on each."""

    def pin(self, run: str | None, name: str, *, pinned: bool, source: str) -> Verdict:
        """Keep a checkpoint whatever retention says, or let it decide again."""

    def restore(self, run: str, url: str, source: str) -> Checkpoint:
        """Bring a run back from a mirror. Raises Invalid, NotFound, Refused, HomerunError."""

    def set_goal(self, run: str, goal: Goal, source: str) -> RunGoal:
        """What the plan of a run is for, from now on. Raises NotFound, Invalid, Refused."""

    def journal(
        self, *, after: int = 0, limit: int = 100, run: str | None = None
    ) -> list[JournalEntry]:
        """Entries with an id above ``after``, oldest first; the newest ``limit`` when 0."""

    def samples(self, run: str, limit: int) -> list[Sample]: ...

    def scores(self, run: str) -> dict[int, float]:
        """Each validation of a run in bits per byte, by its step."""

    def log_file(self, run: str | None) -> Path:
        """The trainer's log of a run (None: of the active or latest run)."""

    def prices(self, hours: int) -> PricesReport:
        """The prices of the next hours; an empty report where no tariff is configured."""

    def surroundings(self) -> Surroundings:
        """UPS, disks and messages, as they are now."""

    def energy(self, by: By) -> EnergySummary:
        """Energy and money by day, week or run; without a line when the ledger is empty."""

    def schedule(self, hours: int) -> ScheduleReport:
        """What the active run does in the next hours, slot by slot, and why."""

    def schedule_curve(self) -> CurveReport:
        """What each finish date of the active run would cost."""

    def config_view(self) -> dict[str, Any]:
        """The effective configuration, secrets masked."""
