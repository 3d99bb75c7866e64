"""A meter at the wall as a Meter: asked in a thread of its own, read at each tick."""

from __future__ import annotations

import logging
import threading

from orchestrator.domain import Power
from orchestrator.home.clock import Clock
from orchestrator.home.energy_counter import Counter, advance_coarse
from orchestrator.home.meter import Meter
from orchestrator.home.plug import Plug, PlugError
from orchestrator.home.poller import Poller

log = logging.getLogger(__name__)

#: so many answers may be missed before the last one is too old
_MISSES = 3


class WallMeter:
    """The last answer while it is fresh, then nothing: unknown is not zero."""

    def __init__(self, plug: Plug, clock: Clock, source: str, every_seconds: float) -> None:
        self._plug = plug
        self._clock = clock
        self._source = source
        self._every_seconds = every_seconds
        self._lock = threading.Lock()
        self._counter: Counter | None = None
        self._watts: float | None = None
        self._read_at = clock.monotonic()
        self._problem = ""
        self._poller: Poller | None = None

    def start(self) -> None:
        """Ask the plug again and again, in a thread of its own."""
        self._poller = Poller("meter", self.ask, self._every_seconds)

    def close(self) -> None:
        """Ask no more."""
        if self._poller is not None:
            self._poller.close()

    def ask(self) -> None:
        """Ask the plug once. An error leaves the last answer, which grows old."""
        try:
            reading = self._plug.read()
        except PlugError as error:
            if str(error) != self._problem:
                log.warning("the power meter: %s", error)
            self._problem = str(error)
            return
        if self._problem:
            log.info("the power meter answers again")
        self._problem = ""
        now = self._clock.monotonic()
        watts = reading.watts
        if watts is None and reading.total_joules is not None:
            self._counter = advance_coarse(self._counter, reading.total_joules, now)
            watts = self._counter.watts
        with self._lock:
            self._watts, self._read_at = watts, now

    def read(self) -> Power:
        """See ``Meter.read``."""
        with self._lock:
            age = self._clock.monotonic() - self._read_at
            fresh = age <= _MISSES * self._every_seconds
            return Power(self._watts if fresh else None, self._source, measured=True)


class WallModel:
    """No meter at the wall: what the card draws, the rest of the machine, the power supply's loss.

    Wall = (card + rest) / efficiency; 0.85 to 0.92 by the supply's class. Marked as estimated.
    """

    def __init__(self, card: Meter, rest_watts: float, efficiency: float) -> None:
        self._card = card
        self._rest_watts = rest_watts
        self._efficiency = efficiency

    def read(self) -> Power:
        """See ``Meter.read``."""
        card = self._card.read().watts
        watts = None if card is None else (card + self._rest_watts) / self._efficiency
        return Power(watts, "estimated", measured=False)


class WithModel:
    """A meter, and a model for when it does not answer; the model's word is marked as such."""

    def __init__(self, meter: Meter, model: Meter) -> None:
        self._meter = meter
        self._model = model

    def read(self) -> Power:
        """See ``Meter.read``."""
        power = self._meter.read()
        return self._model.read() if power.watts is None else power
