"""A real MQTT broker of the tests' own: Debian's mosquitto with a password, on a free port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from orchestrator.home.broker import Message
from orchestrator.home.clock import SystemClock

USER, PASSWORD = "homerun", "a pass word"
_DEADLINE_SECONDS = 60.0
_CLOCK = SystemClock()
_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def is_installed() -> bool:
    """Whether Debian's mosquitto is there."""
    return shutil.which("mosquitto", path=_PATH) is not None


class Mosquitto:
    """A broker that lets one user in."""

    def __init__(self) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="hr-mqtt-"))
        self.port = _free_port()
        self.password_file = self._dir / "password"
        #: further lines of mosquitto.conf
        self.more = ""
        self._process: subprocess.Popen[bytes] | None = None
        self.password_file.write_text(PASSWORD + "\n")

    def start(self) -> None:
        """Listen (again)."""
        users, config = self._dir / "users", self._dir / "mosquitto.conf"
        if not users.exists():
            program = shutil.which("mosquitto_passwd", path=_PATH)
            assert program is not None, "it comes with mosquitto"
            subprocess.run([program, "-b", "-c", users, USER, PASSWORD], check=True)
            users.chmod(0o644)
            self._dir.chmod(0o755)
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n"
            + self.more
        )
        program = shutil.which("mosquitto", path=_PATH)
        assert program is not None, "is_installed() comes first"
        with (self._dir / "log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", config], stdout=log, stderr=log)
        wait_until("mosquitto to listen", self._listens)

    def kill(self) -> None:
        """SIGKILL: what it kept in memory is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(_DEADLINE_SECONDS)
            self._process = None

    def stop(self) -> None:
        """End it and remove everything."""
        self.kill()
        shutil.rmtree(self._dir)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Everybody:
    """Another client of the same broker, as Home Assistant is one: hears all, says anything."""

    def __init__(self, port: int) -> None:
        #: in the order in which it came
        self.heard: list[Message] = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(USER, PASSWORD)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._subscribed = False
        self._client.on_subscribe = self._ready
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until("the subscription", lambda: self._subscribed)

    def say(self, message: Message) -> None:
        """Say something and wait until the broker has it."""
        sent = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)
        sent.wait_for_publish(_DEADLINE_SECONDS)

    def leave(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, client: Client, user: object, message: MQTTMessage) -> None:
        text = message.payload.decode()
        self.heard.append(Message(message.topic, text, bool(message.retain)))

    def _ready(self, *_: object) -> None:
        self._subscribed = True


def wait_until(what: str, true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = _CLOCK.monotonic() + _DEADLINE_SECONDS
    while not true():
        assert _CLOCK.monotonic() < deadline, f"waited in vain for {what}"
        _CLOCK.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
