"""ConsoleLink: the trainer's line to a person at a terminal, without any daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trainer import wording
from trainer.clock import Clock
from trainer.contract import messages
from trainer.contract.messages import (
    Event,
    Failed,
    Finished,
    Heartbeat,
    Phase,
    Saved,
    Step,
    Stopped,
)
from trainer.link import Mailbox

#: on a terminal the line is drawn anew so often, elsewhere a line is added so often
_DRAW_SECONDS = 0.5
_PRINT_SECONDS = 5.0


class Screen(Protocol):
    """What is needed of an output."""

    def isatty(self) -> bool:
        """Whether somebody may be looking at it."""

    def write(self, text: str, /) -> int:
        """Append; raises OSError when the reader is gone."""

    def flush(self) -> None:
        """Hand over to the system; raises OSError when the reader is gone."""


class ConsoleLink(Mailbox):
    """Events become lines, signals become commands."""

    def __init__(
        self,
        out: Screen,
        clock: Clock,
        *,
        as_json: bool = False,
        on_saved: Callable[[Saved], None] = lambda event: None,
    ) -> None:
        self._out = out
        self._clock = clock
        self._as_json = as_json
        self._on_saved = on_saved
        self._draws = out.isatty() and not as_json
        self._last = float("-inf")
        self._drawn = False
        self._is_gone = False
        super().__init__()
        #: how the attempt ended
        self.end: Finished | Stopped | Failed | None = None

    def finish_line(self) -> None:
        """Leave what was drawn last on a line of its own."""
        if self._drawn:
            self._write("\n")
            self._drawn = False

    def send(self, event: Event) -> None:
        if isinstance(event, Finished | Stopped | Failed):
            self.end = event
        if self._as_json:
            self._write(messages.encode(event).decode())
        else:
            self._show(event)
        if isinstance(event, Saved):
            self._on_saved(event)

    def _show(self, event: Event) -> None:
        match event:
            case Step():
                self._progress(wording.step(event), always=event.step == event.steps)
            case Phase():
                self._progress(_phase(event), always=False)
            case Heartbeat() | Finished() | Stopped() | Failed():
                return
            case _:
                self._line(wording.line(event))

    def _progress(self, text: str, *, always: bool) -> None:
        every = _DRAW_SECONDS if self._draws else _PRINT_SECONDS
        now = self._clock.monotonic()
        if not text or (now - self._last < every and not always):
            return
        self._last = now
        if self._draws:
            self._write(f"\r\x1b[K{text}")
            self._drawn = True
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        self._write(f"\r\x1b[K{text}\n" if self._drawn else f"{text}\n")
        self._drawn = False

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            # a closed pipe ends what is shown, not what is trained
            self._is_gone = True


def _phase(event: Phase) -> str:
    if event.phase in ("start", "train", "done"):
        return ""
    percent = f" {100 * event.fraction:.0f} %" if event.fraction >= 0 else ""
    return f"{event.phase} {event.detail}{percent}".strip()
