"""The clock: the only place in the orchestrator that reads the time or waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Wall time for people, monotonic seconds for intervals, and the wait of the main loop."""

    def now(self) -> datetime:
        """The wall time, aware, in UTC. It may jump."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def asleep(self) -> float:
        """Seconds that the machine has slept since it booted; monotonic seconds leave them out."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def get(self, inbox: queue.SimpleQueue[T], timeout_seconds: float) -> T | None:
        """The next item of ``inbox``, or None when none came in time."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the clock

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - this is the clock

    def asleep(self) -> float:
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
        # read one after the other, and where nobody slept the two are the same
        return max(0.0, asleep)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: TID251 - this is the clock

    def get(self, inbox: queue.SimpleQueue[T], timeout_seconds: float) -> T | None:
        try:
            return inbox.get(timeout=max(0.0, timeout_seconds))
        except queue.Empty:
            return None


class FakeClock:
    """A clock that moves when it is told to, or when somebody waits on it."""

    def __init__(self, start: datetime = datetime(2026, 12, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1000.0
        self._asleep = 0.0
        self._lock = threading.Lock()
        #: called after every wait, so that a test can let something happen meanwhile
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def asleep(self) -> float:
        return self._asleep

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        self.on_sleep()

    def get(self, inbox: queue.SimpleQueue[T], timeout_seconds: float) -> T | None:
        try:
            return inbox.get_nowait()
        except queue.Empty:
            self.advance(timeout_seconds)
            return None

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock by ``seconds``; monotonic time does not notice."""
        self._now += timedelta(seconds=seconds)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: the wall clock goes on, monotonic time stands still."""
        self._now += timedelta(seconds=seconds)
        self._asleep += seconds

    def reboot(self, away_seconds: float) -> None:
        """The machine is off for so long; monotonic time starts anew with the next boot."""
        self._now += timedelta(seconds=away_seconds)
        self._monotonic = self._asleep = 0.0
