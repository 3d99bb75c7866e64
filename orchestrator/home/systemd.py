"""systemd's notification socket (sd_notify(3)): ready, status, stopping, watchdog."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


class Notifier:
    """Says nothing at all where no systemd listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for Linux's abstract name space.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """The daemon answers."""
        self._send("READY=1")

    def status(self, sentence: str) -> None:
        """The sentence that ``systemctl status`` shows; also feeds the watchdog."""
        self._send(f"STATUS={sentence}\nWATCHDOG=1")

    def stopping(self, budget_seconds: float) -> None:
        """The daemon drains; systemd gives it ``budget_seconds`` more."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(budget_seconds * 1e6)}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.sendto(text.encode(), self._address)
