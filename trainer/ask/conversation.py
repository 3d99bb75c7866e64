"""Conversation: a text that a person and the model write in turns.

A pretrained model knows no questions and answers; it continues. So a turn appends the person's
line to the text so far, and the model goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from trainer.ask.screen import Page
from trainer.ask.trained import Trained
from trainer.chat import Choice, Chooser, Decoder, continuation
from trainer.data.tokenizer import Tokenizer
from trainer.kv_cache import KeyValueCache

HELP = (
    "Write the beginning of a text and the model goes on; your next line follows what it wrote.\n"
    "Enter alone: it writes more.  /new: a new text.  Ctrl-C: it stops writing.\n"
    "/quit, Ctrl-D, or Ctrl-C at the prompt: the end."
)


class Person(Protocol):
    """Who writes the other turns."""

    def line(self) -> str | None:
        """The next line without its end; None when there are no more.

        Raises:
            KeyboardInterrupt: the person wants to stop.
        """

    def tell(self, text: str) -> None:
        """Say something that is not part of the text."""


class Conversation:
    """One text in turns; the model reads each token once."""

    def __init__(
        self, trained: Trained, tokenizer: Tokenizer, choice: Choice, max_tokens: int
    ) -> None:
        self._trained = trained
        self._tokenizer = tokenizer
        self._choose = Chooser(choice)
        self._max_tokens = max_tokens
        self._begin()

    def run(self, person: Person, page: Page) -> None:
        """Take turns until the person has had enough."""
        while (line := _line_of(person)) is not None:
            match line.strip():
                case "/quit" | "/exit":
                    return
                case "/new":
                    self._begin()
                    person.tell("a new text")
                case "/help" | "/?":
                    person.tell(HELP)
                case _:
                    self._turn(line, person, page)

    def _turn(self, line: str, person: Person, page: Page) -> None:
        try:
            for bit in self._reply(line):
                page.write(bit)
        except KeyboardInterrupt:
            pass
        page.end_line()
        if self._ended:
            person.tell("(the text ends here; a new one begins)")
            self._begin()

    def _begin(self) -> None:
        self._cache = KeyValueCache(self._trained.model)
        self._cache.extend([self._tokenizer.bos])
        self._ended = False

    def _reply(self, line: str) -> Iterator[str]:
        if line:
            fresh = len(self._cache.ids) == 1
            self._cache.extend(self._tokenizer.encode(line if fresh else f"\n{line}"))
        decoder, count = Decoder(self._tokenizer), 0
        bos = self._tokenizer.bos
        for token in continuation(self._cache, self._choose, self._max_tokens, end=bos):
            count += 1
            yield decoder.feed(token)
        self._ended = count < self._max_tokens
        yield decoder.end()


def _line_of(person: Person) -> str | None:
    try:
        return person.line()
    except KeyboardInterrupt:
        return None
