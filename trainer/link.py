"""The trainer's line to whoever commands it: events up, commands down."""

from __future__ import annotations

import queue
from collections import deque
from typing import Protocol

from trainer.contract.messages import Command, Event


class Link(Protocol):
    """Both directions never block the training loop."""

    def send(self, event: Event) -> None:
        """Pass an event up; never raises for a reader that is gone."""

    def poll(self) -> Command | None:
        """The next command, or None when there is none."""

    def wait(self, timeout_seconds: float) -> Command | None:
        """The next command, waited for at most so long."""


class Mailbox:
    """The half of a link that takes commands, from another thread or from a signal handler."""

    def __init__(self) -> None:
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def inject(self, command: Command) -> None:
        """Put a command in; never blocks, so that a signal handler may call it."""
        self._commands.put(command)

    def poll(self) -> Command | None:
        """See ``Link.poll``."""
        try:
            return self._commands.get_nowait()
        except queue.Empty:
            return None

    def wait(self, timeout_seconds: float) -> Command | None:
        """See ``Link.wait``."""
        try:
            return self._commands.get(timeout=timeout_seconds)
        except queue.Empty:
            return None


class ScriptedLink:
    """A link for tests: commands are queued beforehand or from ``send`` hooks; events are kept."""

    def __init__(self, commands: list[Command] | None = None) -> None:
        self.commands: deque[Command] = deque(commands or [])
        self.events: list[Event] = []

    def send(self, event: Event) -> None:
        self.events.append(event)

    def poll(self) -> Command | None:
        return self.commands.popleft() if self.commands else None

    def wait(self, timeout_seconds: float) -> Command | None:
        return self.poll()
