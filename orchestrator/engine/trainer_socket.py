"""The Unix socket at which the trainer reports: events up, commands down, Ray not involved."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine import wire
from trainer.contract import messages
from trainer.contract.messages import Command, Event, Hello, ProtocolError

_CHUNK_BYTES = 1 << 16


@dataclass
class _Line:
    """One trainer's connection."""

    connection: socket.socket
    reader: threading.Thread
    #: the rest of a command that did not fit into the socket's buffer
    rest: bytes = b""

    def send(self, line: bytes) -> bool:
        """Hand over what fits now; False when the trainer has not read what went before."""
        self.rest = self._flush(self.rest)
        if self.rest:
            return False
        self.rest = self._flush(line)
        return True

    def _flush(self, data: bytes) -> bytes:
        try:
            return data[self.connection.send(data, socket.MSG_DONTWAIT) :] if data else data
        except BlockingIOError:
            return data


class TrainerSocket:
    """Accepts exactly the trainer that is expected: by the kernel's word for its pid."""

    def __init__(self, path: Path, relay: Callable[[int, Event], None]) -> None:
        """Listen at ``path``, replacing a socket that a dead engine left there."""
        self._relay = relay
        self._lock = threading.Lock()
        self._expected: tuple[int, int] | None = None
        self._line: _Line | None = None
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(4)
        self._listener.setblocking(False)
        self._closed = False
        self._acceptor = threading.Thread(target=self._accept, name="trainer-socket", daemon=True)

    def serve(self) -> None:
        """Begin to accept, in a thread of its own."""
        self._acceptor.start()

    def close(self) -> None:
        """Accept nobody any more; a connected trainer is cut off."""
        self._closed = True
        if self._acceptor.is_alive():
            # wakes the accepting thread
            self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
        self._listener.close()
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            _close(line.connection)
            line.reader.join()

    def expect(self, attempt: int, pid: int) -> None:
        """From now on only process ``pid`` may connect, as the trainer of ``attempt``."""
        with self._lock:
            self._expected = (attempt, pid)

    def send(self, command: Command) -> None:
        """Pass a command on; lost when no trainer is connected or it does not read.

        Never waits for the trainer.
        """
        with self._lock:
            if self._line is None:
                return
            try:
                delivered = self._line.send(messages.encode(command))
            except OSError:
                delivered = False
        if not delivered:
            _log(f"{type(command).__name__} was not delivered: the trainer does not read")

    def finish(self, timeout_seconds: float) -> None:
        """Relay what the dead trainer still had said, then expect nobody."""
        with self._lock:
            # it may have connected, spoken and died before the accepting thread woke up
            self._accept_pending()
            line, self._line, self._expected = self._line, None, None
        if line is None:
            return
        line.reader.join(timeout_seconds)
        _close(line.connection)

    def _accept(self) -> None:
        while not self._closed:
            select.select([self._listener], [], [])
            with self._lock:
                self._accept_pending()

    def _accept_pending(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # nobody waits any more, or closed
            attempt = self._admit(connection)
            if attempt is None:
                connection.close()
                continue
            reader = threading.Thread(
                target=self._read,
                args=(connection, attempt),
                name=f"trainer-{attempt}",
                daemon=True,
            )
            self._line = _Line(connection, reader)
            reader.start()

    def _admit(self, connection: socket.socket) -> int | None:
        pid, uid = _peer(connection)
        if self._expected is None or self._line is not None:
            _log(f"refused process {pid}: no trainer is expected")
            return None
        attempt, expected_pid = self._expected
        if pid != expected_pid or uid != os.getuid():
            _log(f"refused process {pid} of user {uid}: expected {expected_pid}")
            return None
        return attempt

    def _read(self, connection: socket.socket, attempt: int) -> None:
        lines = wire.Lines()
        try:
            while data := connection.recv(_CHUNK_BYTES):
                for line in lines.feed(data):
                    self._take(line, connection, attempt)
        except (OSError, ProtocolError) as error:
            _log(f"attempt {attempt}: {error}")
            _close(connection)

    def _take(self, line: bytes, connection: socket.socket, attempt: int) -> None:
        try:
            event = messages.decode(line)
        except ProtocolError as error:
            _log(f"attempt {attempt} sent a line that is no event: {error}")
            return
        if isinstance(event, Hello):
            if event.attempt != attempt:
                raise ProtocolError(f"the trainer of attempt {event.attempt} said hello")
            event = dataclasses.replace(event, pid=_peer(connection)[0])
        self._relay(attempt, event)


def _peer(connection: socket.socket) -> tuple[int, int]:
    size = struct.calcsize("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid


def _close(connection: socket.socket) -> None:
    # the trainer may have closed first
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _log(text: str) -> None:
    sys.stderr.write(f"engine: {text}\n")
    sys.stderr.flush()
