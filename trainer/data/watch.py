"""Watch: says how far a long piece of work is, and carries the wish to abort into it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from trainer.clock import Clock

T = TypeVar("T")

Progress = Callable[[str, float], None]

#: how often progress is reported; an abort is noticed as quickly
EVERY_SECONDS = 0.2


class Watch:
    """Calls ``progress(detail, fraction)`` about five times a second, whatever the work does.

    The fraction is 0..1, or negative when nobody can say. An exception raised by ``progress``
    goes through to the caller: that is how preparation is aborted.
    """

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self._progress = progress
        self._clock = clock
        self._due = clock.monotonic()
        self._detail = ""
        self._fraction = -1.0

    def say(self, detail: str, fraction: float) -> None:
        """Set what is reported, and report it when it is time."""
        if self._fraction >= 0.0 and fraction >= 0.0:
            fraction = max(fraction, self._fraction)
        self._detail, self._fraction = detail, fraction
        self.tick()

    def begin(self, detail: str, fraction: float) -> None:
        """As ``say``, and report at once."""
        self._due = self._clock.monotonic()
        self.say(detail, fraction)

    def tick(self) -> None:
        """Report again when it is time."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + EVERY_SECONDS
            self._progress(self._detail, self._fraction)

    def pause(self) -> None:
        """Wait until the next report is due."""
        self._clock.sleep(EVERY_SECONDS)
        self.tick()

    def wait(self, future: Future[T]) -> T:
        """The result of ``future``, reporting until it is there."""
        while not wait([future], timeout=EVERY_SECONDS).done:
            self.tick()
        return future.result()

    def run(self, work: Callable[[], T], between: Callable[[], None]) -> T:
        """Do ``work`` in a thread of its own; call ``between`` here until it is done.

        When ``between`` raises, the thread is left to itself and ends with the process at the
        latest: compiled code in it cannot be interrupted.
        """
        future: Future[T] = Future()

        def body() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # compiled code panics with a BaseException
                future.set_exception(error)

        threading.Thread(target=body, name="data-preparation", daemon=True).start()
        while not wait([future], timeout=EVERY_SECONDS).done:
            between()
            self.tick()
        return future.result()
