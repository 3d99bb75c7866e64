"""The runs and their queue."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import select
from sqlalchemy.orm import Session

from orchestrator.domain import Run, RunState
from orchestrator.errors import Invalid, NotFound, Refused
from orchestrator.store.tables import RunRow, value_of, write
from trainer.contract import toml
from trainer.contract.spec import RunSpec

_PRIORITY_LIMIT = 1_000_000
_ENDED = (RunState.FINISHED, RunState.CANCELLED)


class RunFacts(TypedDict, total=False):
    """What is learnt about a run while it lives."""

    steps: int
    parameters: int
    bits_per_byte_before: float
    bits_per_byte: float
    sample: str
    model_path: str


class Runs:
    """All runs within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, spec: RunSpec, priority: int, now: datetime) -> Run:
        """Queue a new run.

        Raises:
            Refused: the name is taken, by whatever run in whatever state.
            Invalid: a priority beyond a million either way.
        """
        _check(priority)
        taken = self._find(spec.name)
        if taken is not None:
            raise Refused(
                f"there is a run named {spec.name!r} already ({taken.state})",
                "give this one another name; `homerun runs` lists those in use",
            )
        row = RunRow(
            name=spec.name,
            state=RunState.QUEUED,
            priority=priority,
            created=now,
            spec=spec.to_dict(),
            spec_digest=spec.digest(),
        )
        write(self._session, row)
        return value_of(Run, row)

    def get(self, name: str) -> Run | None:
        """The run of that name, or None."""
        row = self._find(name)
        return None if row is None else value_of(Run, row)

    def all(self) -> list[Run]:
        """The active one, then the queue in its order, then the ended ones, newest first."""
        rows = self._session.scalars(select(RunRow)).all()
        return [value_of(Run, row) for row in sorted(rows, key=_place)]

    def active(self) -> Run | None:
        """The run that owns the GPU."""
        row = self._session.scalars(select(RunRow).where(RunRow.state == RunState.ACTIVE)).first()
        return None if row is None else value_of(Run, row)

    def next_queued(self) -> Run | None:
        """The run whose turn is next: the highest priority, among equals the oldest."""
        queue = select(RunRow).where(RunRow.state == RunState.QUEUED)
        row = self._session.scalars(queue.order_by(RunRow.priority.desc(), RunRow.id)).first()
        return None if row is None else value_of(Run, row)

    def set_state(self, name: str, state: RunState, now: datetime) -> None:
        """Move a run; ``finished`` is set when it ends and cleared when it is queued again.

        Raises:
            NotFound: no such run.
            Refused: another run is active, and only one can be.
        """
        row = self.require(name)
        active = self.active()
        if state is RunState.ACTIVE and active is not None and active.name != name:
            raise Refused(
                f"{name} cannot become the active run while {active.name} is",
                "wait until that one has ended, or cancel it",
            )
        if state not in _ENDED:
            row.finished = None
        elif row.state not in _ENDED:
            row.finished = now
        row.state = state
        write(self._session, row)

    def set_priority(self, name: str, priority: int) -> None:
        """Give a run another place in the queue.

        Raises:
            NotFound: no such run.
            Invalid: a priority beyond a million either way.
        """
        _check(priority)
        row = self.require(name)
        row.priority = priority
        write(self._session, row)

    def update(self, name: str, **facts: Unpack[RunFacts]) -> None:
        """Write down what was learnt; raises NotFound, and TypeError for a fact not known here."""
        unknown = set(facts) - set(RunFacts.__annotations__)
        if unknown:
            raise TypeError(f"a run has no fact {', '.join(sorted(unknown))}")
        row = self.require(name)
        for fact, value in facts.items():
            setattr(row, fact, value)
        write(self._session, row)

    def require(self, name: str) -> RunRow:
        """The row of a run that must exist; raises NotFound, naming the nearest."""
        row = self._find(name)
        if row is None:
            names = self._session.scalars(select(RunRow.name)).all()
            raise NotFound(
                f"no run named {name!r}",
                toml.nearest(name, names) or "`homerun runs` lists them all",
            )
        return row

    def _find(self, name: str) -> RunRow | None:
        return self._session.scalars(select(RunRow).where(RunRow.name == name)).first()


def _check(priority: int) -> None:
    if abs(priority) > _PRIORITY_LIMIT:
        raise Invalid(f"priority {priority} is out of range", "use -1000000 to 1000000")


def _place(row: RunRow) -> tuple[int, float, int]:
    if row.state is RunState.ACTIVE:
        return (0, 0, row.id)
    if row.state is RunState.QUEUED:
        return (1, -row.priority, row.id)
    return (2, -row.finished.timestamp() if row.finished else 0, -row.id)
