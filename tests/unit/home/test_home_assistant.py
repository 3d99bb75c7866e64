"""Home Assistant by MQTT: the same story over the shipped fake and over a real mosquitto."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from orchestrator.bridge import About, Bridge
from orchestrator.cli import mqtt_check
from orchestrator.cli.check import State
from orchestrator.domain import Effect, Hold, Reason
from orchestrator.errors import Refused
from orchestrator.home.broker import FakeBroker, Line, Message, PahoBroker, probe
from orchestrator.home.clock import SystemClock
from orchestrator.home_assistant import Topics
from orchestrator.settings.mqtt_config import MqttConfig
from orchestrator.web.fake import FakeBackend
from tests import mosquitto
from tests.mosquitto import Everybody, Mosquitto, wait_until
from tests.unit.web.tools import certificate

TOPICS = Topics("homerun", "homeassistant")
ABOUT = About("1.2.3", "http://127.0.0.1:8420", "EUR")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Home(Protocol):
    """A broker and everybody else on it."""

    def broker(self) -> PahoBroker | FakeBroker: ...
    def heard(self) -> list[Message]: ...
    def say(self, message: Message) -> None: ...
    def cut(self) -> None: ...
    def mend(self) -> None: ...


class FakeHome:
    """In memory."""

    def __init__(self) -> None:
        self._broker = FakeBroker()

    def broker(self) -> FakeBroker:
        return self._broker

    def heard(self) -> list[Message]:
        return self._broker.heard

    def say(self, message: Message) -> None:
        self._broker.others_say(message)

    def cut(self) -> None:
        self._broker.cut()

    def mend(self) -> None:
        self._broker.come_back()


class RealHome:
    """mosquitto; ``cut`` is SIGKILL."""

    def __init__(self, server: Mosquitto) -> None:
        self.server = server
        self._others = Everybody(server.port)
        self._before: list[Message] = []

    def config(self, **changes: Any) -> MqttConfig:
        plain: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.server.port,
            "username": mosquitto.USER,
            "password_file": str(self.server.password_file),
        }
        return MqttConfig(**(plain | changes))

    def broker(self) -> PahoBroker:
        return PahoBroker(self.config(), waits_seconds=(1, 1))

    def heard(self) -> list[Message]:
        return [*self._before, *self._others.heard]

    def say(self, message: Message) -> None:
        self._others.say(message)

    def cut(self) -> None:
        self._others.leave()
        self._before, self._others.heard = self._others.heard, []
        self.server.kill()

    def mend(self) -> None:
        self.server.start()
        self._others = Everybody(self.server.port)

    def leave(self) -> None:
        self._others.leave()


@pytest.fixture
def server() -> Iterator[Mosquitto]:
    if not mosquitto.is_installed() and not os.environ.get("CI"):
        pytest.skip("mosquitto is not installed")
    made = Mosquitto()
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["fake", "mosquitto"])
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    if request.param == "fake":
        yield FakeHome()
        return
    real = RealHome(request.getfixturevalue("server"))
    yield real
    real.leave()


@pytest.fixture
def house() -> FakeBackend:
    return FakeBackend(SystemClock())


@pytest.fixture
def bridge(home: Home, house: FakeBackend) -> Iterator[Bridge]:
    made = Bridge(home.broker(), house, TOPICS, ABOUT, SystemClock())
    made.start()
    wait_until("the first state", lambda: bool(_states(home)))
    yield made
    made.close()


def _states(home: Home) -> list[dict[str, Any]]:
    return [json.loads(item.payload) for item in home.heard() if item.topic == TOPICS.state]


def _command(home: Home, payload: str, *, retain: bool = False) -> None:
    home.say(Message(TOPICS.command, payload, retain))


def test_home_assistant_finds_a_device_with_its_sensors_and_one_switch(
    home: Home, bridge: Bridge
) -> None:
    found = {
        item.topic: json.loads(item.payload)
        for item in home.heard()
        if item.topic.startswith("homeassistant/")
    }
    keys = {topic.split("/")[3] for topic in found}
    assert keys == {
        "headline", "phase", "held_by", "run", "step", "progress", "loss", "tokens_per_second",
        "power", "energy", "finish", "next_change", "training", "cost", "allowed",
    }  # fmt: skip
    shown = _states(home)[-1]
    for topic, content in found.items():
        key = topic.split("/")[3]
        assert content["value_template"] == f"{{{{ value_json.{key} }}}}"
        assert key in shown
        assert content["state_topic"] == TOPICS.state
        assert content["availability_topic"] == TOPICS.availability
        assert content["device"]["identifiers"] == ["homerun"]
    switch = found["homeassistant/switch/homerun/allowed/config"]
    assert switch["command_topic"] == TOPICS.command
    assert found["homeassistant/sensor/homerun/cost/config"]["unit_of_measurement"] == "EUR"
    assert shown["run"] == "evening"
    assert shown["allowed"] == "ON"
    assert shown["held_by"] == "nothing"


def test_the_switch_pauses_and_resumes_as_a_person_would(
    home: Home, bridge: Bridge, house: FakeBackend
) -> None:
    _command(home, "OFF")
    wait_until("the pause on the switch", lambda: _states(home)[-1]["allowed"] == "OFF")
    (hold,) = house.snapshot().holds
    assert (hold.reason, hold.effect, hold.source) == (Reason.USER, Effect.PAUSE, "mqtt")
    assert _states(home)[-1]["held_by"] == "user"
    _command(home, "ON")
    wait_until("the run on the switch", lambda: _states(home)[-1]["allowed"] == "ON")
    assert house.snapshot().holds == ()


def test_garbage_on_the_command_topic_changes_nothing(
    home: Home, bridge: Bridge, house: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    for payload in ("", "off", "PAUSE", "\x00\x1b[31m", "OFF ", '{"state":"OFF"}', "x" * 100_000):
        _command(home, payload)
    home.say(Message("homerun/elsewhere", "OFF"))
    home.say(Message(TOPICS.state, "not even JSON"))
    # commands are taken in order: when the last one is done, the others were dealt with
    before = len(_states_of_ours(home))
    _command(home, "ON")
    wait_until("the answer", lambda: len(_states_of_ours(home)) > before)
    assert house.snapshot().holds == ()
    assert "x" * 100 not in caplog.text


def _states_of_ours(home: Home) -> list[Message]:
    return [m for m in home.heard() if m.topic == TOPICS.state and m.payload.startswith("{")]


def test_a_command_that_the_broker_kept_is_ignored_however_old(
    home: Home, house: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    _command(home, "OFF", retain=True)
    with caplog.at_level(logging.WARNING):
        bridge = Bridge(home.broker(), house, TOPICS, ABOUT, SystemClock())
        bridge.start()
        wait_until("the kept command", lambda: "a kept command was ignored" in caplog.text)
        wait_until("the first state", lambda: bool(_states(home)))
        bridge.close()
    assert house.snapshot().holds == ()


def test_a_graceful_end_says_offline_and_the_word_is_kept(home: Home, house: FakeBackend) -> None:
    bridge = Bridge(home.broker(), house, TOPICS, ABOUT, SystemClock())
    bridge.start()
    wait_until("the first state", lambda: bool(_states(home)))
    bridge.close()
    wait_until("offline", lambda: _availability(home) == ["online", "offline"])


def _availability(home: Home) -> list[str]:
    return [item.payload for item in home.heard() if item.topic == TOPICS.availability]


def test_a_broker_that_dies_is_told_everything_again_when_it_is_back(
    home: Home, bridge: Bridge, house: FakeBackend
) -> None:
    home.cut()
    # nothing here waits for the broker
    house.pause(run=None, until=None, release=False, detail="", source="test")
    before = len(home.heard())
    home.mend()

    def again() -> list[tuple[str, str]]:
        return [(item.topic, item.payload) for item in home.heard()[before:]]

    wait_until("the state", lambda: any(topic == TOPICS.state for topic, _ in again()))
    assert any("switch/homerun/allowed/config" in topic for topic, _ in again())
    assert (TOPICS.availability, "online") in again()
    assert _states(home)[-1]["allowed"] == "OFF"


def test_the_will_is_spoken_when_the_daemon_is_gone_without_a_word(server: Mosquitto) -> None:
    real = RealHome(server)
    broker = real.broker()
    will = Message(TOPICS.availability, "offline", retain=True)
    broker.open(Line(will, TOPICS.command, lambda: None, lambda message: None))
    online = Message(TOPICS.availability, "online", retain=True)
    wait_until("a connection", lambda: broker.say(online))
    assert broker._client is not None
    line = cast(socket.socket, broker._client.socket())
    # as a machine whose power fails: nothing more comes, no DISCONNECT
    broker._client._thread_terminate = True
    line.shutdown(socket.SHUT_RDWR)
    wait_until("the will", lambda: "offline" in _availability(real))
    broker.close(will)
    real.leave()


def test_a_wrong_password_is_named_and_a_corrected_file_is_enough(
    server: Mosquitto, house: FakeBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    real = RealHome(server)
    password = tmp_path / "password"
    password.write_text("wrong\n")
    broker = PahoBroker(real.config(password_file=str(password)), waits_seconds=(1, 1))
    bridge = Bridge(broker, house, TOPICS, ABOUT, SystemClock())
    with caplog.at_level(logging.WARNING):
        bridge.start()
        wait_until("the refusal", lambda: "refuses us: Not authorized" in caplog.text)
    assert "wrong" not in caplog.text, "a password is in no log"
    password.write_text(mosquitto.PASSWORD)
    wait_until("the first state", lambda: bool(_states(real)))
    bridge.close()
    real.leave()


def test_the_doctor_knows_whether_the_broker_lets_us_in(server: Mosquitto, tmp_path: Path) -> None:
    real = RealHome(server)
    config = real.config()
    real.leave()
    found = {check.name: check for check in mqtt_check.checks(config)}
    assert found["broker"].state is State.OK
    assert found["mqtt"].state is State.WARNING, "others can read the password of the tests"
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    wrong.chmod(0o600)
    *_, refused = mqtt_check.checks(config.model_copy(update={"password_file": str(wrong)}))
    assert "refuses us: Not authorized" in refused.message
    server.kill()
    *_, dead = mqtt_check.checks(config)
    assert (dead.state, dead.fix[:9]) == (State.WARNING, "see [mqtt")
    assert "does not answer" in dead.message
    assert list(mqtt_check.checks(MqttConfig())) == []


@pytest.mark.parametrize("wrong", ["no such file", "nobody listens"])
def test_what_cannot_work_is_logged_and_leaves_the_daemon_alone(
    wrong: str, house: FakeBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = MqttConfig(host="127.0.0.1", port=1, username="x", password_file="")
    if wrong == "no such file":
        config = config.model_copy(update={"password_file": str(tmp_path / "missing")})
    bridge = Bridge(PahoBroker(config), house, TOPICS, ABOUT, SystemClock())
    with caplog.at_level(logging.WARNING):
        bridge.start()
        expected = "MQTT is off" if wrong == "no such file" else "no MQTT broker answers"
        wait_until("the word in the log", lambda: expected in caplog.text)
    bridge.close()


# a handshake that fails leaves paho's socket to the garbage collector, which says so
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_lets_in_the_broker_that_the_authority_knows_and_no_other(
    server: Mosquitto, tmp_path: Path
) -> None:
    files = certificate(tmp_path, "broker", "IP:127.0.0.1")
    server.kill()
    # as root mosquitto would give its rights away before it reads the key
    server.more = f"certfile {files.certificate}\nkeyfile {files.key}\nuser root\n"
    server.start()
    config = MqttConfig(
        host="127.0.0.1",
        port=server.port,
        username=mosquitto.USER,
        password_file=str(server.password_file),
        tls=True,
        ca_file=str(files.certificate),
    )
    assert probe(config) == ""
    other = certificate(tmp_path, "other", "IP:127.0.0.1")
    stranger = probe(config.model_copy(update={"ca_file": str(other.certificate)}))
    assert "certificate verify failed" in stranger
    assert "does not answer" in probe(config.model_copy(update={"ca_file": str(tmp_path / "no")}))
    gc.collect()


class Stubborn(FakeBackend):
    """Refuses every command."""

    def pause(self, **given: Any) -> Hold:
        raise Refused("not now")


def test_a_command_that_is_refused_leaves_the_bridge_alive_and_the_switch_true(
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = FakeHome()
    bridge = Bridge(home.broker(), Stubborn(SystemClock()), TOPICS, ABOUT, SystemClock())
    with caplog.at_level(logging.WARNING):
        bridge.start()
        _command(home, "OFF")
        wait_until("the refusal", lambda: "not now" in caplog.text)
    _command(home, "ON")
    wait_until("the state", lambda: bool(_states(home)))
    assert _states(home)[-1]["allowed"] == "ON"
    bridge.close()


def test_nothing_is_said_twice_while_nothing_changes() -> None:
    from orchestrator.home.clock import FakeClock

    home, clock = FakeHome(), FakeClock()
    house = FakeBackend(clock)
    bridge = Bridge(home.broker(), house, TOPICS, ABOUT, clock)
    bridge.open()
    for _ in range(20):
        bridge.step()
    assert len(_states(home)) == 1
    house.advance()
    bridge.step()
    assert len(_states(home)) == 2
    bridge.close()
