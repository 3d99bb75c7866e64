"""The board: the newest snapshot, put up by the supervisor, read by everybody else."""

from __future__ import annotations

import threading
from datetime import datetime

from orchestrator.domain import Snapshot


class Board:
    """One writer, many readers; a reader may wait for the next snapshot."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._snapshot: Snapshot | None = None

    def put(self, snapshot: Snapshot) -> None:
        """Show a new snapshot."""
        with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()

    def snapshot(self) -> Snapshot:
        """The newest snapshot; the supervisor puts the first one up before anybody may read."""
        assert self._snapshot is not None, "recover() comes first"
        return self._snapshot

    def wait_for_change(self, seen: datetime | None, timeout_seconds: float) -> Snapshot:
        """The first snapshot that is not the one taken at ``seen``, or the current one in time."""
        with self._changed:
            self._changed.wait_for(lambda: self.snapshot().time != seen, timeout_seconds)
            return self.snapshot()
