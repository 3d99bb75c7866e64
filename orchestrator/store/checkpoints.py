"""The index of checkpoints."""

from __future__ import annotations

import dataclasses

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from orchestrator.domain import Checkpoint
from orchestrator.store.runs import Runs
from orchestrator.store.tables import CheckpointRow, value_of, write


class Checkpoints:
    """All indexed checkpoints within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, checkpoint: Checkpoint) -> None:
        """Index a checkpoint; again does no harm. Raises NotFound for an unknown run."""
        Runs(self._session).require(checkpoint.run)
        row = CheckpointRow(**dataclasses.asdict(checkpoint))
        write(self._session, self._session.merge(row))

    def remove(self, run: str, name: str) -> None:
        """Forget a checkpoint; one that is not indexed is forgotten already."""
        mine = (CheckpointRow.run == run) & (CheckpointRow.name == name)
        self._session.execute(delete(CheckpointRow).where(mine))

    def of(self, run: str) -> list[Checkpoint]:
        """The checkpoints of a run, newest first: by step, then by attempt."""
        mine = select(CheckpointRow).where(CheckpointRow.run == run)
        newest = mine.order_by(
            CheckpointRow.step.desc(), CheckpointRow.attempt.desc(), CheckpointRow.name.desc()
        )
        return [value_of(Checkpoint, row) for row in self._session.scalars(newest)]
