"""Pulse: whether what lives also answers. A part that hangs is told from one that is slow.

A part counts as hung after several unanswered questions in a row, each of which was waited for
while this process ran itself. So neither a machine that sleeps, nor a clock that is set, nor a
stop of daemon, engine and all (a debugger, the freezer of a control group) looks like a hung part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.engine import process
from orchestrator.engine.process import Identity
from orchestrator.home.clock import Clock

_QUESTIONS = 8
#: one period passes until the first of them is asked, and one is left for killing
_MISSES = 6
#: by chance one answer is late, but not two in a row just before another part ends
_WEAK_MISSES = 2
#: a wait this many times as long as it was to be: we did not run ourselves, so it says nothing
_OURSELVES = 2.0

_STATES = {
    "R": "it computes",
    "S": "it sleeps",
    "I": "it sleeps",
    "D": "it waits for a disk or a driver",
    "T": "it is stopped by a signal",
    "t": "it is stopped by a debugger",
}


@dataclass(frozen=True)
class Patience:
    """How long parts of the engine may be silent."""

    #: a part that has answered before is named, killed and started again within this time
    hung_after_seconds: float = 40.0
    #: the same for a part that comes up, on a cold disk while the machine boots
    start_seconds: float = 90.0

    @property
    def period_seconds(self) -> float:
        """From one question to the next, and the longest wait for an answer."""
        return self.hung_after_seconds / _QUESTIONS

    @property
    def misses_while_starting(self) -> int:
        """So many questions in a row may be unanswered before the first answer."""
        return math.ceil(self.start_seconds / self.period_seconds)

    @property
    def up_seconds(self) -> float:
        """Until all parts must be there; one that hangs is named before."""
        return 1.5 * self.start_seconds

    @property
    def ready_seconds(self) -> float:
        """Until the engine process must be ready, whatever it is that hangs."""
        return 2.0 * self.start_seconds


PATIENCE = Patience()


class Asked(Protocol):
    """Somebody who can be asked whether he answers."""

    @property
    def title(self) -> str:
        """For people."""

    def ask(self, seconds: float) -> bool:
        """Whether an answer came in time; does not wait longer."""


@dataclass(frozen=True)
class Record:
    """What the questions to one part have shown so far."""

    answered_once: bool = False
    misses: int = 0

    def after(self, answered: bool, waited_seconds: float, patience: Patience) -> Record:
        """With one more question."""
        if answered:
            return Record(answered_once=True)
        if waited_seconds > _OURSELVES * patience.period_seconds:
            return self
        return Record(self.answered_once, self.misses + 1)

    def hangs(self, patience: Patience) -> bool:
        """Whether that is enough."""
        limit = _MISSES if self.answered_once else patience.misses_while_starting
        return self.misses >= limit


class Pulse:
    """The pulse of one part, felt in a thread of its own."""

    def __init__(self, part: Identity, asked: Asked, patience: Patience, clock: Clock) -> None:
        self._part = part
        self._asked = asked
        self._patience = patience
        self._clock = clock
        self._record = Record()

    def wait_until_hung(self) -> None:
        """Ask again and again; return when the part hangs."""
        period = self._patience.period_seconds
        while not self._record.hangs(self._patience):
            began = self._clock.monotonic()
            answered = self._asked.ask(period)
            waited = self._clock.monotonic() - began
            self._record = self._record.after(answered, waited, self._patience)
            self._clock.sleep(max(0.0, period - waited))

    @property
    def weak(self) -> bool:
        """It lives, and has left more than one question in a row unanswered."""
        lives = process.identify(self._part.pid) == self._part
        return lives and self._record.misses >= _WEAK_MISSES

    @property
    def complaint(self) -> str:
        """That it does not answer, and what it does instead."""
        return f"the {self._asked.title} does not answer: {state_in_words(self._part.pid)}"


def blame(gone: str, pulses: Iterable[Pulse]) -> str:
    """Why a part has ended: one that hangs takes others with it, by Ray's own time-outs."""
    guilty = [pulse.complaint for pulse in pulses if pulse.weak]
    return "; ".join([*guilty, gone])


def state_in_words(pid: int) -> str:
    """What the kernel says that a process does now."""
    found = process.read_stat(pid)
    if found is None or found.dead:
        return "it is dead"
    return _STATES.get(found.state, f"its state is {found.state}")
