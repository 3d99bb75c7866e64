"""A model's text on a terminal as it comes."""

from __future__ import annotations

import unicodedata

from trainer.console import Screen

#: control characters that a text may well have
_PLAIN = "\n\t"
#: controls, invisible signs that turn the writing direction, halves of characters
_STEERING = ("Cc", "Cf", "Cs")


class Page:
    """Writes a text at once, bit by bit. On a terminal nothing in it can steer the terminal."""

    def __init__(self, out: Screen) -> None:
        self._out = out
        self._shows = out.isatty()
        self._line_begun = False

    def write(self, text: str) -> None:
        """Show the next bit; raises BrokenPipeError when the reader is gone."""
        if text:
            self._out.write("".join(map(_harmless, text)) if self._shows else text)
            self._out.flush()
            self._line_begun = not text.endswith("\n")

    def end_line(self) -> None:
        """Go to the start of a line, if we are not there."""
        if self._line_begun:
            self.write("\n")


def _harmless(sign: str) -> str:
    return " " if sign not in _PLAIN and unicodedata.category(sign) in _STEERING else sign
