"""The bridge between the daemon and an MQTT broker. One thread of its own; no tick waits for it."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain import Hold, Snapshot
from orchestrator.errors import HomerunError
from orchestrator.home.broker import Broker, Line, Message
from orchestrator.home.clock import Clock
from orchestrator.home_assistant import (
    OFF,
    OFFLINE,
    ON,
    ONLINE,
    Topics,
    discovery,
    state,
)

log = logging.getLogger(__name__)

SOURCE = "mqtt"
#: a person looking at a dashboard does not see more
TELL_SECONDS = 5.0
#: more is no person's hand on a switch
_MOST_WAITING = 50


class House(Protocol):
    """What the bridge asks of the daemon; ``Commands`` and the fake backend both have it."""

    def snapshot(self) -> Snapshot: ...

    def pause(
        self, *, run: str | None, until: datetime | None, release: bool, detail: str, source: str
    ) -> Hold: ...

    def resume(self, *, run: str | None, source: str) -> list[Hold]: ...


@dataclass(frozen=True)
class About:
    """What Home Assistant is told of the daemon."""

    version: str
    address: str
    #: of the tariff; empty where there is none
    currency: str


@dataclass(frozen=True)
class _Connected:
    pass


@dataclass(frozen=True)
class _Close:
    pass


_Item = Message | _Connected | _Close


class Bridge:
    """Tells the broker how the run is, and does what the switch says."""

    def __init__(
        self, broker: Broker, house: House, topics: Topics, about: About, clock: Clock
    ) -> None:
        self._broker = broker
        self._house = house
        self._topics = topics
        self._about = about
        self._clock = clock
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mqtt-bridge", daemon=True)
        self._told: Message | None = None

    def start(self) -> None:
        """Connect; returns at once, whether or not anybody answers."""
        self._thread.start()
        self.open()

    def open(self) -> None:
        """Connect, without the thread: who calls this calls ``step`` as well."""
        self._broker.open(
            Line(
                will=Message(self._topics.availability, OFFLINE, retain=True),
                listen_to=self._topics.command,
                connected=lambda: self._inbox.put(_Connected()),
                said=self._heard,
            )
        )

    def close(self) -> None:
        """Say that we are gone, and leave."""
        self._inbox.put(_Close())
        if self._thread.is_alive():
            self._thread.join()
        self._broker.close(Message(self._topics.availability, OFFLINE, retain=True))

    def step(self) -> bool:
        """Take what came in, or after a while tell what has changed. False when it is closed."""
        item = self._clock.get(self._inbox, TELL_SECONDS)
        match item:
            case _Close():
                return False
            case _Connected():
                self._announce()
            case Message():
                self._obey(item.payload)
        self._tell()
        return True

    def _work(self) -> None:
        while True:
            try:
                if not self.step():
                    return
            except HomerunError as error:
                log.warning("MQTT: %s", error.message)
            except Exception:
                # Home Assistant is no reason to lose the bridge for the rest of the month.
                log.exception("MQTT: what came in could not be dealt with")

    def _heard(self, message: Message) -> None:
        """In the broker's thread: keep a command for ours, drop everything else."""
        if message.retain:
            log.warning("MQTT: a kept command was ignored; who gave it may be long gone")
        elif message.payload not in (ON, OFF):
            log.warning("MQTT: %.40r is no command: it is ON or OFF", message.payload)
        elif self._inbox.qsize() < _MOST_WAITING:
            self._inbox.put(message)

    def _obey(self, payload: str) -> None:
        if payload == ON:
            self._house.resume(run=None, source=SOURCE)
        else:
            self._house.pause(
                run=None, until=None, release=False, detail="Home Assistant", source=SOURCE
            )
        # the switch must show what is, also where nothing changed
        self._told = None

    def _announce(self) -> None:
        about = self._about
        for message in discovery(self._topics, about.version, about.address, about.currency):
            self._broker.say(message)
        self._broker.say(Message(self._topics.availability, ONLINE, retain=True))
        self._told = None

    def _tell(self) -> None:
        message = state(self._topics, self._house.snapshot(), self._about.currency)
        if message != self._told and self._broker.say(message):
            self._told = message
