"""SocketLink: the trainer's line to its engine, over a Unix socket."""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
from typing import BinaryIO

from trainer.contract import messages
from trainer.contract.messages import Event, Finish, Heartbeat, Pause, Resume, Save, Stop
from trainer.link import Mailbox

#: with so many unread events the reader is behind, and heartbeats are left out
_CROWDED = 1000
_COMMANDS = (Pause, Resume, Save, Finish, Stop)


class SocketLink(Mailbox):
    """Two threads carry the lines, so that the training loop never waits for the other end.

    Events arrive in the order in which they were sent, the first is the one given here.
    """

    def __init__(self, path: str, hello: Event) -> None:
        """Connect; raises OSError when nobody listens at ``path``."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        super().__init__()
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._written = threading.Condition()
        self._pending = 0
        self.send(hello)
        self._reader = threading.Thread(target=self._read, name="link-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="link-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def fileno(self) -> int:
        """The socket's descriptor, for the lifeline."""
        return self._socket.fileno()

    def send(self, event: Event) -> None:
        if isinstance(event, Heartbeat) and self._events.qsize() > _CROWDED:
            return
        with self._written:
            self._pending += 1
        self._events.put(event)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until every event is handed to the system; False when time is up first."""
        with self._written:
            return self._written.wait_for(lambda: self._pending == 0, timeout_seconds)

    def close(self) -> None:
        """Close both directions and end both threads; unsent events are lost."""
        self._events.put(None)
        # the other end may have been faster
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._writer.join()
        self._socket.close()

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                self._take(lines)
        except OSError:
            return  # the lifeline decides what a closed line means

    def _take(self, lines: BinaryIO) -> None:
        for line in lines:
            try:
                message = messages.decode(line)
            except messages.ProtocolError as error:
                sys.stderr.write(f"link: a line is no command: {error}\n")
                continue
            if isinstance(message, _COMMANDS):
                self.inject(message)
            else:
                sys.stderr.write(f"link: {type(message).__name__} is no command\n")

    def _write(self) -> None:
        broken = False
        while (event := self._events.get()) is not None:
            if not broken:
                try:
                    self._socket.sendall(messages.encode(event))
                except OSError:
                    broken = True
            with self._written:
                self._pending -= 1
                self._written.notify_all()
