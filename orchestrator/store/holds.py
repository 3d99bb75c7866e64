"""The holds that must survive a restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from orchestrator.domain import Hold
from orchestrator.store.runs import Runs
from orchestrator.store.tables import HoldRow, value_of, write


class Holds:
    """All stored holds within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, hold: Hold) -> Hold:
        """Store a hold; returns it with its id. Raises NotFound for an unknown run."""
        if hold.run is not None:
            Runs(self._session).require(hold.run)
        fields = dataclasses.asdict(hold)
        del fields["id"]
        row = HoldRow(**fields)
        write(self._session, row)
        return value_of(Hold, row)

    def active(self, now: datetime) -> list[Hold]:
        """The holds that hold at ``now``, oldest first; one ends at its ``until``, not after it."""
        return self._unended(or_(HoldRow.until.is_(None), HoldRow.until > now))

    def expired(self, now: datetime) -> list[Hold]:
        """The holds whose time is over at ``now`` and that nobody has ended yet."""
        return self._unended(HoldRow.until <= now)

    def unended(self) -> list[Hold]:
        """All that nobody has ended yet, whatever the time is."""
        return self._unended(HoldRow.id > 0)

    def move(self, hold: int, until: datetime) -> None:
        """It ends at another time: the clock was set."""
        this = (HoldRow.id == hold) & HoldRow.ended.is_(None)
        self._session.execute(update(HoldRow).where(this).values(until=until))

    def end(self, ids: Collection[int], now: datetime) -> None:
        """End these holds; those that have ended keep their time."""
        these = HoldRow.id.in_(ids) & HoldRow.ended.is_(None)
        self._session.execute(update(HoldRow).where(these).values(ended=now))

    def _unended(self, condition: ColumnElement[bool]) -> list[Hold]:
        rows = select(HoldRow).where(HoldRow.ended.is_(None), condition).order_by(HoldRow.id)
        return [value_of(Hold, row) for row in self._session.scalars(rows)]
