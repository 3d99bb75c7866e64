"""Who says that the machine goes to sleep or down, and waits a while. See ``login1``."""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Coming(enum.StrEnum):
    """What has been announced."""

    NOTHING = "nothing"
    SLEEP = "sleep"
    #: power off, reboot, halt
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class LogindState:
    """What is known, and whether we are waited for."""

    coming: Coming = Coming.NOTHING
    #: of the announcement; the next one has the next number
    number: int = 0
    #: we hold a delay lock: what is coming waits until we let go
    waited_for: bool = False
    #: how long it waits at most (InhibitDelayMaxSec); None: nobody has told
    delay_seconds: float | None = None
    #: why nobody waits for us; empty when all is well
    problem: str = ""


class Logind(Protocol):
    """Never waits, except ``close``, which waits for a thread. Holds a lock whenever it can."""

    def open(self, changed: Callable[[], None]) -> None:
        """Listen from now on; ``changed`` is called from any thread after each announcement."""

    def state(self) -> LogindState:
        """What is known now. Any thread."""

    def let_go(self, number: int) -> None:
        """The announcement ``number`` need not wait for us any longer; an older one is over."""

    def close(self) -> None:
        """Let go, and listen no more."""


class FakeLogind:
    """A machine whose owner is a test."""

    def __init__(self, delay_seconds: float | None = 5.0) -> None:
        self._lock = threading.Lock()
        self._state = LogindState(problem="not asked yet")
        self._delay_seconds = delay_seconds
        self._changed: Callable[[], None] = lambda: None
        #: why it grants no lock; empty: it does
        self.refuses = ""

    def open(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._become(Coming.NOTHING)

    def state(self) -> LogindState:
        with self._lock:
            return self._state

    def let_go(self, number: int) -> None:
        with self._lock:
            if number == self._state.number:
                self._state = dataclasses.replace(self._state, waited_for=False)

    def close(self) -> None:
        with self._lock:
            self._state = dataclasses.replace(self._state, waited_for=False, problem="closed")

    # --- the machine's owner ----------------------------------------------------------------

    def announce(self, coming: Coming) -> None:
        """Say what comes now; NOTHING: it is over, or did not happen."""
        self._become(coming)
        self._changed()

    def _become(self, coming: Coming) -> None:
        with self._lock:
            self._state = become(self._state, coming)
            if coming is Coming.NOTHING:
                self._state = dataclasses.replace(
                    self._state,
                    waited_for=not self.refuses,
                    delay_seconds=self._delay_seconds,
                    problem=self.refuses,
                )


def become(state: LogindState, coming: Coming) -> LogindState:
    """``state`` after an announcement; one that is said twice, as elogind does, counts once."""
    if coming is state.coming:
        return state
    number = state.number if coming is Coming.NOTHING else state.number + 1
    return dataclasses.replace(state, coming=coming, number=number)
