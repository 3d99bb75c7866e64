"""The person of a conversation: at a terminal, or behind a pipe."""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO

from trainer.ask.conversation import Person
from trainer.console import Screen


def person_at(lines: TextIO, words: Screen) -> Person:
    """Whoever writes ``lines``; what is said to them goes to ``words``."""
    return Typist(words) if lines.isatty() else Pipe(lines, words)


class Pipe:
    """Lines from a file or another program, without any prompt."""

    def __init__(self, lines: TextIO, words: Screen) -> None:
        self._lines = lines
        self._words = words

    def line(self) -> str | None:
        line = self._lines.readline()
        return line.rstrip("\r\n") if line else None

    def tell(self, text: str) -> None:
        self._words.write(f"{text}\n")
        self._words.flush()


class Typist:
    """Somebody at the keyboard, with the arrow keys and the history that readline gives."""

    def __init__(self, words: Screen) -> None:
        self._words = words
        with suppress(ImportError):
            import readline  # noqa: F401 - its import teaches input() to edit lines

    def line(self) -> str | None:
        try:
            return input("> ")
        except EOFError:
            self.tell("")
            return None
        except KeyboardInterrupt:
            self.tell("")
            raise

    def tell(self, text: str) -> None:
        self._words.write(f"{text}\n")
        self._words.flush()
