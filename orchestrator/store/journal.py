"""The journal: everything that happened and why. It is written and read, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from orchestrator.domain import JournalEntry, to_json
from orchestrator.store.tables import JournalRow, value_of, whole, write

_LARGEST = (1 << 63) - 1


class Journal:
    """The journal within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def write(
        self,
        kind: str,
        message: str,
        now: datetime,
        *,
        severity: str = "info",
        run: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> JournalEntry:
        """Append an entry. Ids grow in the order in which entries become visible to readers.

        ``data`` becomes plain JSON: times as ISO text, numbers that are none as null.
        """
        row = JournalRow(
            time=now,
            kind=kind,
            message=message,
            severity=severity,
            run=run,
            data=_plain(data or {}),
        )
        write(self._session, row)
        return value_of(JournalEntry, row)

    def after(self, id: int, limit: int, run: str | None = None) -> list[JournalEntry]:  # noqa: A002 - the word of the API
        """At most ``limit`` entries with a greater id, oldest first."""
        later = _of_run(run).where(JournalRow.id > _clamp(id)).order_by(JournalRow.id)
        rows = self._session.scalars(later.limit(_clamp(limit)))
        return [value_of(JournalEntry, row) for row in rows]

    def newest(self, limit: int, run: str | None = None) -> list[JournalEntry]:
        """The last ``limit`` entries, oldest first."""
        latest = _of_run(run).order_by(JournalRow.id.desc()).limit(_clamp(limit))
        rows = self._session.scalars(latest).all()
        return [value_of(JournalEntry, row) for row in reversed(rows)]


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(to_json(dict(data)), ensure_ascii=False)
    plain: dict[str, Any] = json.loads(whole(text))
    return plain


def _of_run(run: str | None) -> Select[JournalRow]:
    entries = select(JournalRow)
    return entries if run is None else entries.where(JournalRow.run == run)


def _clamp(number: int) -> int:
    # a negative limit means "all" to SQLite and is an error to PostgreSQL
    return min(max(number, 0), _LARGEST)
