"""homerun-power: sets the card's power limit for a daemon that has no right to.

A small root process on a Unix socket. It can do one thing: set a limit within the range that the
card itself names. The kernel says who is at the other end (SO_PEERCRED, unix(7)); a connection is
a lease: when the one who set the limit is gone, for whatever reason, the default is back. Nothing
of homerun but the card and the clock is imported, and nothing else is installed as root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import power_wire as wire
from orchestrator.home.clock import Clock, SystemClock
from orchestrator.home.gpu import Gpu, GpuLost, NoRight, NvmlGpu

#: the daemon, and one or two people who look
_MOST_CLIENTS = 8
#: a line that is not whole after so long has no end
_LINE_SECONDS = 5.0
#: how often what could not be restored is tried again, and unfinished lines are looked at
_ROUND_SECONDS = 1.0
#: sd_listen_fds(3): the first socket that systemd hands over
_FIRST_SOCKET = 3


@dataclass
class _Client:
    """Somebody connected."""

    connection: socket.socket
    buffer: bytes = b""
    #: since when the line in the buffer is unfinished
    line_since: float | None = None


class PowerHelper:
    """Serves one listening socket, in one thread, with one card."""

    def __init__(
        self, gpu: Gpu, listener: socket.socket, allowed: Collection[int], clock: Clock
    ) -> None:
        """Serve those whose user id is ``allowed``; root always is."""
        self._gpu, self._listener, self._clock = gpu, listener, clock
        self._allowed = frozenset(allowed) | {0}
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        #: whose limit is in force
        self._owner: _Client | None = None
        #: the default has to come back, and did not yet
        self._owes_default = False

    def serve(self, wake: socket.socket) -> None:
        """Until ``wake`` can be read. The default is restored at the end, come what may."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            while not self._round(wake):
                pass
        finally:
            self._owes_default = self._owes_default or self._owner is not None
            self._restore()
            for client in list(self._clients.values()):
                client.connection.close()
            self._selector.close()

    def _round(self, wake: socket.socket) -> bool:
        """One look at the sockets; True when it is the last."""
        ready = [key.fileobj for key, _ in self._selector.select(_ROUND_SECONDS)]
        if wake in ready:
            return True
        for where in ready:
            assert isinstance(where, socket.socket), "only sockets are registered"
            if where is self._listener:
                self._accept()
            else:
                self._read(self._clients[where.fileno()])
        for client in list(self._clients.values()):
            begun = client.line_since
            if begun is not None and self._clock.monotonic() - begun >= _LINE_SECONDS:
                self._drop(client)
        if self._owes_default:
            self._restore()
        return False

    # --- clients ----------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # it left before we looked
        connection.setblocking(False)
        client = _Client(connection)
        uid = peer_uid(connection)
        if uid not in self._allowed:
            self._refuse(client, f"user {uid} may not set the power limit")
        elif len(self._clients) >= _MOST_CLIENTS:
            self._refuse(client, "too many at once")
        elif self._send(client, {"ok": True}):
            self._clients[connection.fileno()] = client
            self._selector.register(connection, selectors.EVENT_READ)
        else:
            connection.close()

    def _refuse(self, client: _Client, text: str) -> None:
        self._send(client, {"ok": False, "error": wire.REFUSED, "text": text})
        client.connection.close()

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(wire.LINE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        *lines, client.buffer = (client.buffer + data).split(b"\n")
        for line in lines:
            if not self._send(client, self._answer(client, line)):
                self._drop(client)
                return
        if len(client.buffer) >= wire.LINE_BYTES:
            text = f"a line has at most {wire.LINE_BYTES} bytes"
            self._send(client, {"ok": False, "error": wire.MALFORMED, "text": text})
            self._drop(client)
        elif not client.buffer:
            client.line_since = None
        elif client.line_since is None or lines:
            client.line_since = self._clock.monotonic()

    def _send(self, client: _Client, answer: dict[str, Any]) -> bool:
        """False for one who does not read: he is not waited for."""
        line = wire.encode(answer)
        try:
            return client.connection.send(line) == len(line)
        except OSError:
            return False

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection.fileno(), None)
        self._selector.unregister(client.connection)
        client.connection.close()
        if client is self._owner:
            self._owner, self._owes_default = None, True
            self._restore()

    # --- the card ---------------------------------------------------------------------------

    def _answer(self, client: _Client, line: bytes) -> dict[str, Any]:
        try:
            return self._do(client, wire.request(line))
        except wire.MalformedLine as error:
            word, text = wire.MALFORMED, str(error)
        except ValueError as error:
            word, text = wire.OUT_OF_RANGE, str(error)
        except NoRight as error:
            word, text = wire.NO_RIGHT, str(error)
        except GpuLost as error:
            word, text = wire.LOST, str(error)
        return {"ok": False, "error": word, "text": text}

    def _do(self, client: _Client, asked: wire.Request) -> dict[str, Any]:
        limits = self._gpu.limits()
        if limits is None:
            raise NoRight("this card has no power limit that can be set")
        if asked.do == "limits":
            return {
                "ok": True,
                "lowest_watts": limits.lowest_watts,
                "highest_watts": limits.highest_watts,
                "default_watts": limits.default_watts,
                "limit_watts": self._gpu.read().limit_watts,
            }
        watts = limits.default_watts if asked.do == "reset" else asked.watts
        if not limits.lowest_watts <= watts <= limits.highest_watts:
            span = f"{limits.lowest_watts:g} to {limits.highest_watts:g} W"
            raise ValueError(f"{watts:g} W is outside of the card's range, {span}")
        # Before it is set: a death in between must not leave a limit that nobody owns.
        self._owner = client
        self._gpu.set_limit(watts)
        self._owes_default = False
        if asked.do == "reset":
            self._owner = None
        return {"ok": True, "limit_watts": watts}

    def _restore(self) -> None:
        if self._owes_default and restore_default(self._gpu):
            self._owes_default = False


def restore_default(gpu: Gpu) -> bool:
    """Set the default limit; False when the card does not let us now."""
    try:
        limits = gpu.limits()
        if limits is not None:
            gpu.set_limit(limits.default_watts)
    except (GpuLost, NoRight, ValueError) as error:
        print(f"homerun-power: the default limit is not back: {error}", file=sys.stderr)
        return False
    return True


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, as the kernel says (struct ucred: pid, uid, gid)."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(uid)


# --- the program ----------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """0 at an ordinary end; 3 where there is no card; 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="homerun-power", description="Set the card's power limit."
    )
    parser.add_argument("--allow", action="append", default=[], metavar="USER", help="name or id")
    parser.add_argument("--socket", metavar="PATH", help="instead of the one that systemd opened")
    parser.add_argument("--restore", action="store_true", help="set the default limit, and end")
    given = parser.parse_args(arguments)
    try:
        gpu = NvmlGpu()
    except (OSError, ImportError) as error:
        print(f"homerun-power: {error}", file=sys.stderr)
        return 3
    if given.restore:
        return 0 if restore_default(gpu) else 1
    try:
        allowed = [user_id(name) for name in given.allow]
        with listening(given.socket) as listener:
            run(PowerHelper(gpu, listener, allowed, SystemClock()))
    except (OSError, KeyError) as error:
        parser.error(str(error))
    return 0


def run(helper: PowerHelper) -> None:
    """Serve until SIGTERM or SIGINT. In the main thread."""
    ours, wake = socket.socketpair()
    with ours, wake:
        ours.setblocking(False)
        signal.set_wakeup_fd(ours.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        helper.serve(wake)


def user_id(name: str) -> int:
    """A user's id by name or number. Raises KeyError."""
    return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid


@contextlib.contextmanager
def listening(path: str | None) -> Iterator[socket.socket]:
    """The socket that systemd opened, or one at ``path``. Raises OSError."""
    if path is None:
        if os.environ.get("LISTEN_PID") != str(os.getpid()):
            raise OSError("systemd opened no socket for us: give --socket PATH")
        with socket.socket(fileno=_FIRST_SOCKET) as given:
            yield given
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        Path(path).unlink(missing_ok=True)
        listener.bind(path)
        Path(path).chmod(0o600)
        listener.listen(_MOST_CLIENTS)
        try:
            yield listener
        finally:
            Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
