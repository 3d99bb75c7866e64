"""systemd's own logind on a bus of the tests' own, with a systemd that starts nothing beside it.

It gets an empty /run in a mount namespace, and finds no other systemd than ours: what it would
start for a power off is refused, and it then says itself that the power off is over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

from jeepney import (
    DBusAddress,
    HeaderFields,
    MessageType,
    new_error,
    new_method_call,
    new_method_return,
)
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from tests.login1 import SystemBus

_PROGRAM = Path("/lib/systemd/systemd-logind")
_ROOMS = "inhibit seats sessions shutdown system users".split()
_UNIT = "/org/freedesktop/systemd1/unit/poweroff_2etarget"
_MANAGER = DBusAddress(
    "/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager"
)


def why_not() -> str:
    """What is missing here; empty: nothing."""
    if not _PROGRAM.exists():
        return f"there is no {_PROGRAM}"
    if Path("/run/systemd/system").is_dir():
        return "this machine has a logind of its own"
    if os.geteuid() != 0:
        return "only root may give logind a /run of its own"
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False
    )
    return "this kernel lets nobody mount a /run of his own" if tried.returncode else ""


class RealLogind:
    """One logind and its systemd."""

    def __init__(self, bus: SystemBus) -> None:
        self._bus = bus
        self._systemd = open_dbus_connection(bus.address)
        self._thread = threading.Thread(target=self._refuse, daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        #: what logind asked systemd to do
        self.asked: list[str] = []

    def start(self) -> None:
        """Start both."""
        ask = new_method_call(message_bus, "RequestName", "su", ("org.freedesktop.systemd1", 0))
        assert self._systemd.send_and_get_reply(ask).body == (1,)
        self._thread.start()
        rooms = " ".join(f"/run/systemd/{room}" for room in _ROOMS)
        script = f"mount -t tmpfs tmpfs /run && mkdir -p {rooms} /run/udev && exec {_PROGRAM}"
        self._process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script],
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self._bus.address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def power_off(self) -> None:
        """Ask for it, as systemctl poweroff does."""
        with open_dbus_connection(self._bus.address) as person:
            ask = new_method_call(_MANAGER, "PowerOff", "b", (False,))
            answer = person.send_and_get_reply(ask, timeout=30.0)
        assert answer.header.message_type is MessageType.method_return, answer.body

    def stop(self) -> None:
        """End both."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30.0)
        self._bus.kill()
        self._thread.join(30.0)
        self._systemd.close()

    def _refuse(self) -> None:
        try:
            while True:
                message = self._systemd.receive()
                if message.header.message_type is not MessageType.method_call:
                    continue
                member = message.header.fields[HeaderFields.member]
                self.asked.append(member)
                if member == "LoadUnit":
                    answer = new_method_return(message, "o", (_UNIT,))
                elif member == "Get":
                    answer = new_method_return(message, "v", (("s", "loaded"),))
                elif member == "Subscribe":
                    answer = new_method_return(message)
                else:
                    answer = new_error(
                        message, "org.freedesktop.DBus.Error.NotSupported", "s", ("no",)
                    )
                self._systemd.send(answer)
        except OSError:
            return
