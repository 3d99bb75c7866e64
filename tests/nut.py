"""A real NUT server of the tests' own: Debian's upsd with the dummy driver, on a free port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from orchestrator.home.clock import SystemClock

_DEADLINE_SECONDS = 60.0
_BINARIES = Path("/lib/nut")
_CLOCK = SystemClock()
_DEVICE = {
    "device.type": "ups",
    "ups.status": "OL",
    "battery.charge": "100",
    "battery.runtime": "1800",
    "ups.load": "35",
    "ups.realpower.nominal": "600",
}


def is_installed() -> bool:
    """Whether Debian's nut-server is there."""
    return (_BINARIES / "upsd").exists() and (_BINARIES / "dummy-ups").exists()


class NutServer:
    """upsd with one UPS called ``home`` whose variables are what the test writes."""

    def __init__(self) -> None:
        # sockets of the driver: a short path
        self._dir = Path(tempfile.mkdtemp(prefix="hr-nut-"))
        self.port = _free_port()
        #: who may do what, as in upsd.users
        self.users = ""
        self._changed = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Write its configuration and start driver and server."""
        (self._dir / "ups.conf").write_text(
            "maxretry = 1\npollinterval = 1\n"
            f"[home]\n driver = dummy-ups\n port = {self._dir}/home.dev\n mode = dummy-once\n"
        )
        (self._dir / "upsd.conf").write_text(f"LISTEN 127.0.0.1 {self.port}\nMAXAGE 15\n")
        (self._dir / "upsd.users").write_text(self.users)
        self.say()
        for path in self._dir.iterdir():
            path.chmod(0o640)
        self._dir.chmod(0o750)
        self.start_driver()
        self.start_server()

    def start_driver(self) -> None:
        """Start the driver (again)."""
        self._run("dummy-ups", "-F", "-a", "home")

    def start_server(self) -> None:
        """Start upsd (again)."""
        self._run("upsd", "-F")

    def say(self, **variables: str) -> None:
        """The UPS' variables from now on; ``__`` stands for a dot."""
        values = _DEVICE | {name.replace("__", "."): text for name, text in variables.items()}
        beside = self._dir / "home.dev.new"
        beside.write_text("".join(f"{name}: {text}\n" for name, text in values.items()))
        beside.chmod(0o640)
        # the driver looks at the time of the last change, in whole seconds
        changed = int(beside.stat().st_mtime)
        self._changed = max(changed, self._changed + 1)
        os.utime(beside, (self._changed, self._changed))
        beside.rename(self._dir / "home.dev")

    def kill(self, name: str) -> None:
        """SIGKILL ``dummy-ups`` or ``upsd``."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(_DEADLINE_SECONDS)

    def stop(self) -> None:
        """End everything and remove it."""
        for name in list(self._processes):
            self.kill(name)
        shutil.rmtree(self._dir)

    def _run(self, program: str, *options: str) -> None:
        env = {
            **os.environ,
            "NUT_CONFPATH": str(self._dir),
            "NUT_STATEPATH": str(self._dir),
            "NUT_ALTPIDPATH": str(self._dir),
        }
        user = pwd.getpwuid(os.geteuid()).pw_name
        with (self._dir / f"{program}.log").open("wb") as log:
            self._processes[program] = subprocess.Popen(
                [_BINARIES / program, *options, "-u", user],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def wait_until(what: str, true: Callable[[], bool]) -> None:
    """Wait for a condition; the driver looks at its file once a second."""
    deadline = _CLOCK.monotonic() + _DEADLINE_SECONDS
    while not true():
        assert _CLOCK.monotonic() < deadline, f"waited in vain for {what}"
        _CLOCK.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
