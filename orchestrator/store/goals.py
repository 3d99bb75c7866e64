"""What the plans are for, and what each level of power was measured to give."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from orchestrator.piloting.goals import RunGoal
from orchestrator.planning.measured import Reading
from orchestrator.store.runs import Runs
from orchestrator.store.tables import GoalRow, LevelReadingRow, value_of, write

#: a primary key cannot be NULL: what no limit was set for
_NO_LIMIT = 0


class Goals:
    """All goals and measured levels within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, goal: RunGoal) -> RunGoal:
        """Set the goal of a run in the place of any earlier one. Raises NotFound."""
        Runs(self._session).require(goal.run)
        row = self._session.get(GoalRow, goal.run) or GoalRow(run=goal.run)
        row.kind, row.since, row.deadline = goal.kind, goal.since, goal.deadline
        row.slack, row.money, row.tokens_left = goal.slack, goal.money, goal.tokens_left
        row.usual = goal.usual
        write(self._session, row)
        return value_of(RunGoal, row)

    def of(self, run: str) -> RunGoal | None:
        """The goal of a run, or None when nobody ever set one."""
        row = self._session.get(GoalRow, run, populate_existing=True)
        return None if row is None else value_of(RunGoal, row)

    def measured(self, run: str, readings: Iterable[Reading]) -> None:
        """Write down what the levels give, in the place of what was known. Raises NotFound."""
        Runs(self._session).require(run)
        mine = delete(LevelReadingRow).where(LevelReadingRow.run == run)
        self._session.execute(mine, execution_options={"synchronize_session": False})
        rows = [
            {
                "run": run,
                "milliwatts": round((item.limit_watts or 0.0) * 1000) or _NO_LIMIT,
                "tokens_per_second": item.tokens_per_second,
                "wall_watts": item.wall_watts,
                "seconds": item.seconds,
            }
            for item in readings
        ]
        if rows:
            self._session.execute(insert(LevelReadingRow), rows)

    def readings(self, run: str) -> list[Reading]:
        """What was written down, by limit."""
        mine = select(LevelReadingRow).where(LevelReadingRow.run == run)
        return [
            Reading(
                row.milliwatts / 1000 if row.milliwatts != _NO_LIMIT else None,
                row.tokens_per_second,
                row.wall_watts,
                row.seconds,
            )
            for row in self._session.scalars(mine.order_by(LevelReadingRow.milliwatts))
        ]
