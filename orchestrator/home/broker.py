"""An MQTT broker as homerun uses one: retained words, a last will, and what others say to us.

Topics, retained messages and the will: MQTT 3.1.1 (OASIS), sections 3.1.2.5, 3.3.1.3, 4.7.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.settings.mqtt_config import MqttConfig

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

log = logging.getLogger(__name__)

_KEEPALIVE_SECONDS = 30
_CONNECT_SECONDS = 5.0
_PROBE_SECONDS = 0.1
_FIRST_WAIT_SECONDS = 1
_LONGEST_WAIT_SECONDS = 120
#: what waits for a broker that takes nothing; older words are out of date anyway
_MOST_QUEUED = 200
_FAREWELL_SECONDS = 1.0


@dataclass(frozen=True)
class Message:
    """Something said under a topic. ``retain``: the broker keeps it for those who come later."""

    topic: str
    payload: str
    retain: bool = False


@dataclass(frozen=True)
class Line:
    """What to do with a broker; it calls back from a thread of its own and must not wait."""

    #: what the broker says for us when we are gone without a word
    will: Message
    #: the only topic that we listen to
    listen_to: str
    #: after each connection, the first and every later one
    connected: Callable[[], None]
    said: Callable[[Message], None]


class Broker(Protocol):
    """Never waits for the network, except ``close``, which waits a few seconds at most."""

    def open(self, line: Line) -> None:
        """Connect, and again after each loss, with growing pauses, until it is closed."""

    def say(self, message: Message) -> bool:
        """Whether the message is on its way; without a connection it is dropped."""

    def close(self, last: Message) -> None:
        """Say one more thing if that is possible, and leave."""


class PahoBroker:
    """A real one, by Eclipse Paho."""

    def __init__(
        self,
        config: MqttConfig,
        waits_seconds: tuple[int, int] = (_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS),
    ) -> None:
        self._config = config
        self._waits_seconds = waits_seconds
        self._client: Client | None = None
        self._told = ""

    def open(self, line: Line) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        # A clean session: what was commanded while we were away is not to be done days later.
        client = Client(CallbackAPIVersion.VERSION2, client_id="", clean_session=True)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.reconnect_delay_set(*self._waits_seconds)
        client.will_set(line.will.topic, line.will.payload, qos=1, retain=line.will.retain)
        self._listen(client, line)
        try:
            _prepare(client, self._config)
        except (OSError, UnicodeDecodeError) as error:
            log.error("MQTT is off: %s", error)
            return
        # before its thread starts: the first thing to say may come from a callback at once
        self._client = client
        client.connect_async(self._config.host, self._config.port, keepalive=_KEEPALIVE_SECONDS)
        client.loop_start()

    def say(self, message: Message) -> bool:
        from paho.mqtt.enums import MQTTErrorCode

        if self._client is None or not self._client.is_connected():
            return False
        sent = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)
        return sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def close(self, last: Message) -> None:
        client = self._client
        if client is None:
            return
        if client.is_connected():
            sent = client.publish(last.topic, last.payload, qos=1, retain=last.retain)
            with contextlib.suppress(RuntimeError, ValueError):
                sent.wait_for_publish(_FAREWELL_SECONDS)
        client.disconnect()
        client.loop_stop()
        self._client = None

    def _listen(self, client: Client, line: Line) -> None:
        def connected(client: Client, user: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                self._tell(f"the MQTT broker refuses us: {reason}; see [mqtt] in homerun.toml")
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    _enter_credentials(client, self._config)
                return
            self._tell(f"connected to the MQTT broker at {self._config.host}", logging.INFO)
            client.subscribe(line.listen_to, qos=1)
            line.connected()

        def lost(client: Client, user: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                self._tell(f"the MQTT broker is gone ({reason}); trying again")

        def unreachable(client: Client, user: Any) -> None:
            self._tell(f"no MQTT broker answers at {self._config.host}:{self._config.port}")

        def said(client: Client, user: Any, message: MQTTMessage) -> None:
            # what is not UTF-8 is no word that anybody here knows
            text = message.payload.decode("utf-8", errors="replace")
            line.said(Message(message.topic, text, bool(message.retain)))

        client.on_connect = connected
        client.on_disconnect = lost
        client.on_connect_fail = unreachable
        client.on_message = said

    def _tell(self, text: str, level: int = logging.WARNING) -> None:
        """Once, not at every try."""
        if text != self._told:
            self._told = text
            log.log(level, "%s", text)


def probe(config: MqttConfig) -> str:
    """Ask the broker to let us in, and leave: what is wrong, or an empty text. Waits seconds."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    answers: list[str] = []

    def connected(client: Client, user: Any, flags: Any, reason: Any, properties: Any) -> None:
        answers.append(f"refuses us: {reason}" if reason.is_failure else "")

    client = Client(CallbackAPIVersion.VERSION2, client_id="", clean_session=True)
    client.on_connect = connected
    try:
        _prepare(client, config)
        client.connect(config.host, config.port)
        for _ in range(round(_CONNECT_SECONDS / _PROBE_SECONDS)):
            if answers or client.loop(_PROBE_SECONDS):
                break
        client.disconnect()
    except (OSError, UnicodeDecodeError) as error:
        return f"does not answer: {error}"
    return answers[0] if answers else "does not answer as an MQTT broker does"


def _prepare(client: Client, config: MqttConfig) -> None:
    """Raises OSError or UnicodeDecodeError for a file that cannot be read."""
    client.connect_timeout = _CONNECT_SECONDS
    if config.tls:
        client.tls_set(ca_certs=config.ca_file or None)
    _enter_credentials(client, config)


def _enter_credentials(client: Client, config: MqttConfig) -> None:
    if not config.username:
        return
    password = None
    if config.password_file:
        password = Path(config.password_file).read_text(encoding="utf-8").strip()
    client.username_pw_set(config.username, password)


class FakeBroker:
    """A broker in memory, and the hand of everybody else on it."""

    def __init__(self, *, up: bool = True) -> None:
        self._up = up
        self._line: Line | None = None
        #: what others hear, in order
        self.heard: list[Message] = []
        #: what those who come later are told
        self.retained: dict[str, str] = {}

    def open(self, line: Line) -> None:
        self._line = line
        if self._up:
            self._connect()

    def say(self, message: Message) -> bool:
        if not self._up or self._line is None:
            return False
        self._take(message)
        return True

    def close(self, last: Message) -> None:
        self.say(last)
        self._line = None

    # --- everybody else ---------------------------------------------------------------------

    def others_say(self, message: Message) -> None:
        """Somebody else says something; a subscriber that is there hears it without the flag."""
        self._take(message)
        if self._up and self._line is not None and message.topic == self._line.listen_to:
            self._line.said(Message(message.topic, message.payload, False))

    def cut(self) -> None:
        """The connection is lost without a word: the will is spoken."""
        self._up = False
        if self._line is not None:
            self._take(self._line.will)

    def come_back(self) -> None:
        """The broker takes connections again."""
        self._up = True
        if self._line is not None:
            self._connect()

    def _connect(self) -> None:
        assert self._line is not None, "opened before"
        self._line.connected()
        kept = self.retained.get(self._line.listen_to)
        if kept is not None:
            self._line.said(Message(self._line.listen_to, kept, True))

    def _take(self, message: Message) -> None:
        self.heard.append(message)
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)
