"""A system bus of the tests' own: a real dbus-daemon, and a small logind on it.

The logind is ours, because the real one wants to own the machine. Its locks are what systemd's are:
the writing end of a pipe, whose reading end hears when the last holder has closed it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    MessageType,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import Message

from orchestrator.home.clock import SystemClock

_DEADLINE_SECONDS = 30.0
_CLOCK = SystemClock()
_NAME = "org.freedesktop.login1"
_MANAGER = DBusAddress("/org/freedesktop/login1", _NAME, f"{_NAME}.Manager")
_CONFIG = """<busconfig>
 <type>system</type>
 <listen>unix:path={socket}</listen>
 <policy context="default">
  <allow user="*"/><allow own="*"/>
  <allow send_destination="*"/><allow receive_sender="*"/>
 </policy>
</busconfig>
"""


def is_installed() -> bool:
    """Whether Debian's dbus is there."""
    return shutil.which("dbus-daemon") is not None


def wait_until(what: str, true: Callable[[], Any]) -> None:
    """Wait for a condition."""
    deadline = _CLOCK.monotonic() + _DEADLINE_SECONDS
    while not true():
        assert _CLOCK.monotonic() < deadline, f"waited in vain for {what}"
        _CLOCK.sleep(0.01)


class SystemBus:
    """A dbus-daemon on a socket of its own."""

    def __init__(self) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="hr-bus-"))
        self._socket = self._dir / "socket"
        self.address = f"unix:path={self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it (again) and wait until it listens."""
        config = self._dir / "bus.conf"
        config.write_text(_CONFIG.format(socket=self._socket))
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until("the bus to listen", self._listens)

    def _listens(self) -> bool:
        """Whether it takes connections: its socket is there a moment before."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_DEADLINE_SECONDS)
            self._process = None
        self._socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and remove it."""
        self.kill()
        shutil.rmtree(self._dir)


@dataclass
class Logind:
    """What our logind says and does; ``properties`` may be changed at any time."""

    address: str
    properties: dict[str, tuple[str, Any]] = field(
        default_factory=lambda: {
            "InhibitDelayMaxUSec": ("t", 5_000_000),
            "PreparingForSleep": ("b", False),
            "PreparingForShutdown": ("b", False),
        }
    )
    #: error name and text that Inhibit is answered with
    refuses: tuple[str, str] | None = None
    #: a signature and a body instead of a lock
    rubbish: tuple[str, tuple[Any, ...]] | None = None
    #: called in our thread as soon as a lock is let go
    on_let_go: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        #: reading ends of the locks that are held, with what was asked
        self.locks: dict[int, tuple[str, ...]] = {}
        #: who asked for the last lock, as the bus calls him
        self.asker = ""
        self._lock = threading.Lock()
        self._end, self._wake = os.pipe()
        self._connection: DBusConnection | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Logind:
        """Own the name and answer."""
        connection = self._connection = open_dbus_connection(self.address, enable_fds=True)
        ask = new_method_call(message_bus, "RequestName", "su", (_NAME, 0))
        assert connection.send_and_get_reply(ask).body == (1,)
        self._thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Leave the bus; locks stay what they are."""
        os.write(self._wake, b".")
        if self._thread is not None:
            self._thread.join(_DEADLINE_SECONDS)
        if self._connection is not None:
            self._connection.close()
        for end in (self._end, self._wake, *self.locks):
            os.close(end)

    def announce(self, what: str, begins: bool, *, signal: bool = True) -> None:
        """PrepareForSleep or PrepareForShutdown; without ``signal`` the word gets lost."""
        with self._lock:
            self.properties[what.replace("Prepare", "Preparing")] = ("b", begins)
        if signal:
            self.say(what, "b", (begins,))

    def say(self, member: str, signature: str, body: tuple[Any, ...]) -> None:
        """Send any signal."""
        assert self._connection is not None, "started before"
        self._connection.send(new_signal(_MANAGER, member, signature, body))

    def _serve(self, connection: DBusConnection) -> None:
        with selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            ready.register(connection.sock, selectors.EVENT_READ)
            ready.register(self._end, selectors.EVENT_READ)
            while True:
                found = [key.fd for key, _ in ready.select(_DEADLINE_SECONDS)]
                if self._end in found:
                    return
                for descriptor in set(found) & set(self.locks):
                    ready.unregister(descriptor)
                    # told first: whoever waits for the lock to be gone finds what was told
                    self.on_let_go()
                    del self.locks[descriptor]
                    os.close(descriptor)
                if connection.sock.fileno() in found:
                    self._answer(connection, connection.receive(timeout=_DEADLINE_SECONDS), ready)

    def _answer(
        self, connection: DBusConnection, message: Message, ready: selectors.BaseSelector
    ) -> None:
        if message.header.message_type is not MessageType.method_call:
            return
        member = message.header.fields[HeaderFields.member]
        if member == "Inhibit":
            self._inhibit(connection, message, ready)
        elif member == "ListInhibitors":
            locks = [(*what, 0, 1) for what in self.locks.values()]
            connection.send(new_method_return(message, "a(ssssuu)", (locks,)))
        elif member == "Get" and message.body[1] in self.properties:
            with self._lock:
                value = self.properties[message.body[1]]
            connection.send(new_method_return(message, "v", (value,)))
        else:
            name = "org.freedesktop.DBus.Error.UnknownMethod"
            connection.send(new_error(message, name, "s", (member,)))

    def _inhibit(
        self, connection: DBusConnection, message: Message, ready: selectors.BaseSelector
    ) -> None:
        self.asker = message.header.fields[HeaderFields.sender]
        if self.refuses is not None:
            name, text = self.refuses
            connection.send(new_error(message, name, "s", (text,)))
            return
        if self.rubbish is not None:
            connection.send(new_method_return(message, *self.rubbish))
            return
        reading, writing = os.pipe()
        connection.send(new_method_return(message, "h", (writing,)))
        os.close(writing)
        self.locks[reading] = tuple(message.body)
        ready.register(reading, selectors.EVENT_READ)
