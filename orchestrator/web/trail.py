"""The last day of power and temperature, for the page: kept in memory, and gone with the daemon.

Nothing decides by it. Who wants the month asks Prometheus.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.home.clock import Clock
from orchestrator.web.backend import Backend

log = logging.getLogger(__name__)

#: more points than a chart has pixels tell nothing
MOST_POINTS = 720
#: from look to look, at first and at most: 720 points are an hour, then a day
FIRST_SECONDS, MOST_SECONDS = 5.0, 120.0


@dataclass(frozen=True)
class Point:
    """One look. None where nothing answers."""

    time: datetime
    watts: float | None
    celsius: float | None
    #: the card's power limit
    limit_watts: float | None


class Trail:
    """Looks at the house from time to time. ``points`` may be called from any thread."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend, self._clock = backend, clock
        self._points: list[Point] = []
        self._every = timedelta(seconds=FIRST_SECONDS)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread = threading.Thread(target=self._live, name="web-trail", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; returns when the thread is gone."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def points(self) -> list[Point]:
        """Oldest first."""
        with self._lock:
            return list(self._points)

    def look(self) -> None:
        """Take a point, if it is time for one."""
        now = self._clock.now()
        with self._lock:
            # A clock that was set back starts a new trail: a chart only knows forward.
            if self._points and now < self._points[-1].time:
                self._points.clear()
            if self._points and now - self._points[-1].time < self._every:
                return
        point = self._point(now)
        with self._lock:
            self._points.append(point)
            if len(self._points) > MOST_POINTS:
                self._thin()

    def _thin(self) -> None:
        if self._every.total_seconds() < MOST_SECONDS:
            self._every *= 2
            self._points = self._points[::2]
        else:
            del self._points[0]

    def _point(self, now: datetime) -> Point:
        view = self._backend.surroundings().gpu
        reading = view.reading if view is not None else None
        run = self._backend.snapshot().run
        drawn = run.power.watts if run is not None else None
        if reading is None:
            return Point(now, drawn, None, None)
        watts = reading.power_watts if reading.power_watts is not None else drawn
        return Point(now, watts, reading.temperature_celsius, reading.limit_watts)

    def _live(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                log.exception("the page's history of power cannot be read")
            self._stopping.wait(FIRST_SECONDS)
