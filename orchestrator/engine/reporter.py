"""Reporter: the line up from the engine process to the daemon."""

from __future__ import annotations

import os
import threading

from orchestrator.engine import wire


class Reporter:
    """The line up to the daemon; a daemon that is gone is noticed on stdin, not here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._closed = False

    def say(self, report: wire.Report, *, last: bool = False) -> None:
        """Write one report; nothing is said any more after the last one."""
        with self._lock:
            if self._closed:
                return
            self._closed = last
            data = memoryview(wire.encode_report(report))
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except OSError:
                self._closed = True

    def mute(self) -> None:
        """Say nothing from now on; does not wait for a report that is being written."""
        self._closed = True
