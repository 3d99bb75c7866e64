"""Bar: how far a long piece of work is, drawn on a terminal once it has taken a while."""

from __future__ import annotations

from trainer.clock import Clock
from trainer.console import Screen

#: work that takes no longer than this shows nothing
PATIENCE_SECONDS = 2.0
_DRAW_SECONDS = 0.2
_CELLS = 24


class Bar:
    """One line, drawn anew in place; nothing where nobody looks."""

    def __init__(self, out: Screen, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._begun = clock.monotonic()
        self._due = self._begun + PATIENCE_SECONDS
        self._drawn = False

    def show(self, what: str, fraction: float) -> None:
        """The work is at ``fraction`` 0..1; negative when nobody can say."""
        now = self._clock.monotonic()
        if now < self._due or not self._out.isatty():
            return
        self._due = now + _DRAW_SECONDS
        self._out.write(f"\r\x1b[K{_line(what, fraction, now - self._begun)}")
        self._out.flush()
        self._drawn = True

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._drawn:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._drawn = False


def _line(what: str, fraction: float, seconds: float) -> str:
    if fraction < 0.0:
        return f"{what} {_minutes(seconds)}"
    part = min(1.0, fraction)
    full = int(part * _CELLS)
    left = f"  {_minutes(seconds * (1.0 - part) / part)} left" if part > 0.01 else ""
    return f"[{'#' * full}{'.' * (_CELLS - full)}] {100 * part:3.0f} %  {what}{left}"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
