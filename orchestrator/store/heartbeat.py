"""The daemon's sign of life; a gap in it is an outage."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from orchestrator.store.tables import HeartbeatRow, write

_ONLY = 1


class Heartbeat:
    """The heartbeat within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def beat(self, now: datetime, boot_id: str, uptime_seconds: float | None = None) -> None:
        """The daemon is alive; ``boot_id`` tells a reboot from a restart.

        ``uptime_seconds`` of the machine stand behind the boot's id: they mean nothing without it.
        """
        boot = boot_id if uptime_seconds is None else f"{boot_id} {uptime_seconds:.3f}"
        write(self._session, self._session.merge(HeartbeatRow(id=_ONLY, time=now, boot_id=boot)))

    def last(self) -> tuple[datetime, str] | None:
        """When and in which boot the daemon was last alive; None before the first beat."""
        row = self._session.get(HeartbeatRow, _ONLY)
        return None if row is None else (row.time, row.boot_id.partition(" ")[0])

    def last_uptime(self) -> float | None:
        """What the machine's uptime was at the last beat; None where it was not told."""
        row = self._session.get(HeartbeatRow, _ONLY)
        text = "" if row is None else row.boot_id.partition(" ")[2]
        return float(text) if text else None
