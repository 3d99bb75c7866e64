"""The desk: where commands are answered, between two micro-batches and wherever work is long."""

from __future__ import annotations

from typing import NoReturn, Protocol

from trainer.announce import Announcer
from trainer.clock import Clock
from trainer.contract.messages import (
    Command,
    Finish,
    Pause,
    Resume,
    Save,
    SaveFailed,
    Stop,
    Stopped,
)
from trainer.link import Link
from trainer.outcome import LeaveError, Outcome

_WAIT_SECONDS = 0.5
_STILL_THERE_SECONDS = 1.0


class Saves(Protocol):
    """Writes the state of the last finished step."""

    @property
    def saved_step(self) -> int:
        """The newest finished step that is on the disk; 0 when there is none."""

    def save(self, reason: str, request: str = "") -> bool:
        """Save, or answer with the checkpoint of the same step; False when that failed."""

    def keep_in_memory(self) -> int:
        """See that a slot in memory has what no save could take; its step, 0 when there is none."""

    def collect(self) -> None:
        """Say what has become of a save that goes on beside the work, if it is done."""


class Desk:
    """Answers commands; a Stop leaves by LeaveError."""

    def __init__(self, link: Link, announcer: Announcer, clock: Clock, saved_step: int = 0) -> None:
        self._link = link
        self._announcer = announcer
        self._clock = clock
        self._saved_step = saved_step
        self._saves: Saves | None = None
        self._said = clock.monotonic()
        #: the next checkpoint that is due anyway is the last
        self.finishing = False
        #: seconds spent on commands since the desk was opened
        self.away_seconds = 0.0

    def give_saves(self, saves: Saves) -> None:
        """From now on there is a state that can be saved."""
        self._saves = saves

    def answer(self) -> None:
        """Obey all commands that have come; returns when the work may go on."""
        self._collect()
        command = self._link.poll()
        if command is None:
            return
        begin = self._clock.monotonic()
        while command is not None:
            self._obey(command)
            command = self._link.poll()
        self.away_seconds += self._clock.monotonic() - begin

    def rest(self, seconds: float) -> None:
        """Do nothing for so long but obey commands."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0:
            command = self._link.wait(min(left, _WAIT_SECONDS))
            if command is not None:
                self._obey(command)
            self._collect()
            self._repeat_phase()

    def leave(self, reason: str, memory_step: int = 0) -> NoReturn:
        """Raises LeaveError with the last saved step."""
        step = self._saves.saved_step if self._saves else self._saved_step
        raise LeaveError(Outcome(Stopped(step, reason, memory_step)))

    def _obey(self, command: Command) -> None:
        match command:
            case Pause():
                self._stay_paused()
            case Resume():
                self.finishing = False
            case Save(request):
                self._save(request)
            case Finish():
                self.finishing = True
            case Stop():
                # not tried again: who stops us waits, and the daemon made room before if it could
                if self._saves is not None and not self._saves.save("stop"):
                    self.leave("stop", self._saves.keep_in_memory())
                self.leave("stop")

    def _save(self, request: str) -> None:
        if self._saves is not None:
            self._saves.save("request", request)
            return
        message = "nothing to save yet: the state is still being loaded"
        self._announcer.say(SaveFailed(self._saved_step, "request", message, request))

    def _stay_paused(self) -> None:
        before = self._announcer.current
        self._announcer.phase("paused")
        # A finish leaves at the next checkpoint, which a paused trainer would never reach.
        while not isinstance(command := self._link.wait(_WAIT_SECONDS), Resume | Finish):
            if command is not None and not isinstance(command, Pause):
                self._obey(command)
            self._collect()
            self._repeat_phase()
        self._obey(command)
        self._announcer.phase(before.phase, before.detail, before.fraction)

    def _collect(self) -> None:
        if self._saves is not None:
            self._saves.collect()

    def _repeat_phase(self) -> None:
        """Say once a second that we are still here."""
        now = self._clock.monotonic()
        if now - self._said >= _STILL_THERE_SECONDS:
            self._said = now
            self._announcer.repeat_phase()
