"""Totals that survive restarts and never fall: energy, seconds, steps, restarts."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from orchestrator.store.tables import CounterRow

#: whose totals of the daemon itself are; no run can be called so
OWNER = "@daemon"


class Counters:
    """All counters within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, run: str, deltas: Mapping[str, float]) -> None:
        """Add to counters of a run; a new one begins at 0.

        Raises:
            ValueError: a delta is negative or not finite; no counter has changed then.
        """
        for name, delta in deltas.items():
            if not (math.isfinite(delta) and delta >= 0):
                raise ValueError(f"counter {name} of {run}: cannot add {delta}")
        for name, delta in deltas.items():
            self._increase(run, name, delta)

    def all(self) -> dict[str, dict[str, float]]:
        """Run name to counter name to total."""
        totals: dict[str, dict[str, float]] = {}
        rows = select(CounterRow).order_by(CounterRow.run, CounterRow.name)
        for row in self._session.scalars(rows.execution_options(populate_existing=True)):
            totals.setdefault(row.run, {})[row.name] = row.value
        return totals

    def _increase(self, run: str, name: str, delta: float) -> None:
        mine = (CounterRow.run == run) & (CounterRow.name == name)
        # the database adds, so no total read earlier can overwrite a newer one
        increase = update(CounterRow).where(mine).values(value=CounterRow.value + delta)
        result = self._session.execute(increase, execution_options={"synchronize_session": False})
        assert isinstance(result, CursorResult)
        if result.rowcount == 0:
            self._session.add(CounterRow(run=run, name=name, value=delta))
            self._session.flush()
