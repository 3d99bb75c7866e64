"""Messages to the person who owns the run: ntfy, Telegram, mail, Home Assistant and the like."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from orchestrator.notices import Notice


class MessengerError(Exception):
    """A message did not arrive; trying again may help. Names no secret."""


class Messenger(Protocol):
    """May wait for a network; never called by the tick."""

    def send(self, notice: Notice) -> None:
        """Deliver to every address. Raises MessengerError when one did not take it."""


class AppriseMessenger:
    """Every service that apprise knows; one URL of its kind a line in a file of mode 0600.

    The URLs hold passwords, so they are read when they are needed and never shown.
    """

    def __init__(self, urls_file: Path) -> None:
        self._urls_file = urls_file

    def send(self, notice: Notice) -> None:
        import apprise

        # its messages about failures may quote URLs
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        kinds = {
            "warning": apprise.NotifyType.WARNING,
            "error": apprise.NotifyType.FAILURE,
        }
        line = apprise.Apprise()
        for number, url in self._urls():
            if not line.add(url):
                raise MessengerError(f"{self._urls_file}:{number} is no address that apprise knows")
        kind = kinds.get(notice.severity, apprise.NotifyType.INFO)
        if not line.notify(title=notice.title, body=notice.body, notify_type=kind):
            raise MessengerError("not every address took the message")

    def _urls(self) -> list[tuple[int, str]]:
        try:
            text = self._urls_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MessengerError(f"{self._urls_file} cannot be read: {error}") from None
        lines = enumerate((line.strip() for line in text.splitlines()), start=1)
        found = [(number, line) for number, line in lines if line and not line.startswith("#")]
        if not found:
            raise MessengerError(f"{self._urls_file} holds no address")
        return found


class FakeMessenger:
    """Keeps what it is given; ``fails`` so many times before."""

    def __init__(self, fails: int = 0) -> None:
        self.sent: list[Notice] = []
        self.fails = fails

    def send(self, notice: Notice) -> None:
        if self.fails:
            self.fails -= 1
            raise MessengerError("not every address took the message")
        self.sent.append(notice)
