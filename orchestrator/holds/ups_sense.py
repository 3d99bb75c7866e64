"""The UPS as a sense: asked in a thread of its own, judged at each tick."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from orchestrator.domain import Hold, Reason
from orchestrator.holds.outage_watch import Outage, OutagePolicy, advance
from orchestrator.holds.senses import Moment
from orchestrator.home.clock import Clock
from orchestrator.home.poller import Poller
from orchestrator.home.ups import Ups, UpsError, UpsReading

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UpsState:
    """What is known of the UPS, with its age: what the metrics and the doctor show."""

    reading: UpsReading | None
    age_seconds: float
    #: why there is no fresh reading; empty when there is one
    problem: str = ""


class UpsSense:
    """Holds the run while the mains are out, and until the battery can carry another failure."""

    def __init__(self, ups: Ups, clock: Clock, policy: OutagePolicy) -> None:
        self._ups = ups
        self._clock = clock
        self._policy = policy
        self._lock = threading.Lock()
        self._reading: UpsReading | None = None
        self._read_at = clock.monotonic()
        self._problem = "not asked yet"
        self._outage = Outage()
        self._held: Hold | None = None
        self._poller: Poller | None = None

    def start(self, every_seconds: float) -> None:
        """Ask the UPS again and again, in a thread of its own."""
        self._poller = Poller("ups", self.ask, every_seconds)

    def close(self) -> None:
        """Ask no more."""
        if self._poller is not None:
            self._poller.close()

    def ask(self) -> None:
        """Ask the UPS once. An error leaves the last reading, which grows old."""
        try:
            reading = self._ups.read()
        except UpsError as error:
            if str(error) != self._problem:
                log.warning("ups: %s", error)
            self._problem = str(error)
            return
        with self._lock:
            self._reading, self._read_at = reading, self._clock.monotonic()
            self._problem = ""

    def state(self) -> UpsState:
        """What is known now."""
        with self._lock:
            age = self._clock.monotonic() - self._read_at
            return UpsState(self._reading, age, self._problem)

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        known = self.state()
        self._outage, asked = advance(
            self._outage,
            known.reading,
            known.age_seconds,
            moment.monotonic_seconds,
            self._policy,
        )
        if asked.effect is None:
            self._held = None
            return ()
        since = self._held.since if self._held else moment.now
        self._held = Hold(Reason.UPS, asked.effect, "ups", since, detail=asked.detail)
        return (self._held,)
