"""The attempts: every life of the trainer, how it ended and why."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orchestrator.domain import Attempt, AttemptEnd
from orchestrator.errors import NotFound, Refused
from orchestrator.store.runs import Runs
from orchestrator.store.tables import AttemptRow, value_of, write


class Attempts:
    """All attempts within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, run: str, now: datetime, *, at_least: int = 1) -> Attempt:
        """A new attempt, numbered one above the highest of the run.

        ``at_least`` is for a store that was restored or lost: the fencing token in the run's
        directory may then be ahead of what is known here.

        Raises:
            NotFound: no such run.
            Refused: an attempt at this run has not ended; there are never two.
        """
        Runs(self._session).require(run)
        for unended in self.open():
            if unended.run == run:
                raise Refused(
                    f"attempt {unended.number} at {run} has not ended",
                    "end it first: there are never two trainers on one run",
                )
        highest = select(func.max(AttemptRow.number)).where(AttemptRow.run == run)
        number = max(at_least, (self._session.scalar(highest) or 0) + 1)
        row = AttemptRow(run=run, number=number, started=now, cause="")
        write(self._session, row)
        return value_of(Attempt, row)

    def end(
        self,
        run: str,
        number: int,
        end: AttemptEnd,
        cause: str,
        now: datetime,
        last_step: int | None,
    ) -> None:
        """Close an attempt. The first end stands: what is reported later is its echo.

        ``last_step`` None leaves what ``reached`` wrote. Raises NotFound.
        """
        row = self._require(run, number)
        if row.ended is not None:
            return
        row.ended, row.end, row.cause = now, end, cause
        if last_step is not None:
            row.last_step = last_step
        write(self._session, row)

    def reached(self, run: str, number: int, first_step: int | None, last_step: int | None) -> None:
        """Write down where it began and how far it is; None leaves what is there."""
        row = self._require(run, number)
        if first_step is not None:
            row.first_step = first_step
        if last_step is not None:
            row.last_step = last_step
        write(self._session, row)

    def open(self) -> list[Attempt]:
        """The attempts that have not ended, of all runs."""
        unended = select(AttemptRow).where(AttemptRow.ended.is_(None))
        rows = self._session.scalars(unended.order_by(AttemptRow.run, AttemptRow.number))
        return [value_of(Attempt, row) for row in rows]

    def of(self, run: str) -> list[Attempt]:
        """The attempts at a run, oldest first."""
        mine = select(AttemptRow).where(AttemptRow.run == run).order_by(AttemptRow.number)
        return [value_of(Attempt, row) for row in self._session.scalars(mine)]

    def _require(self, run: str, number: int) -> AttemptRow:
        row = self._session.get(AttemptRow, (run, number))
        if row is None:
            raise NotFound(f"no attempt {number} at run {run!r}")
        return row
