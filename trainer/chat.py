"""Writing with a model: greedy or drawn, one token at a time, as text while it is written."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainer.kv_cache import KeyValueCache
from trainer.model import NanoChat


class Vocabulary(Protocol):
    """What sampling needs of a tokenizer."""

    @property
    def bos(self) -> int:
        """Begins every document, and so also ends the one before."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without bos."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes that token ids stand for; one token may be part of a character."""


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen. ``temperature`` 0 always takes the most likely one.

    Raises:
        ValueError: ``temperature`` or ``top_k`` is negative.
    """

    temperature: float = 0.8
    #: draw among so many most likely ones; 0 means among all
    top_k: int = 50
    #: the same logits and the same seed give the same tokens
    seed: int = 0

    def __post_init__(self) -> None:
        if not min(self.temperature, self.top_k) >= 0:
            raise ValueError("temperature and top_k must not be negative")


class Chooser:
    """Takes one token after the other by a private generator, which nothing else draws from."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._generator = torch.Generator().manual_seed(choice.seed)

    def __call__(self, logits: Tensor) -> int:
        """A token for ``logits`` [V] on the CPU."""
        if not self._choice.temperature:
            return int(logits.argmax())
        best, ids = torch.topk(logits, min(self._choice.top_k or len(logits), len(logits)))
        likely = torch.softmax(best / self._choice.temperature, 0)
        return int(ids[torch.multinomial(likely, 1, generator=self._generator)])


def continuation(
    cache: KeyValueCache, choose: Callable[[Tensor], int], n: int, end: int | None
) -> Iterator[int]:
    """At most ``n`` tokens that follow the text in ``cache``, which grows by each of them.

    Ends before ``end``, which is not appended. Raises ValueError when the text is empty.
    """
    for _ in range(n):
        token = choose(cache.logits())
        if token == end:
            return
        cache.extend([token])
        yield token


class Decoder:
    """Tokens to text as they come. Bytes of a character that is not yet whole are held back.

    All that ``feed`` and ``end`` gave together is the text of all tokens; bytes that are no
    UTF-8 become U+FFFD.
    """

    def __init__(self, tokenizer: Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The characters that ``token`` completes; may be none."""
        return self._utf8.decode(self._tokenizer.decode_bytes([token]))

    def end(self) -> str:
        """What is left of a character that was never completed. The next text starts afresh."""
        return self._utf8.decode(b"", final=True)


def sample(
    model: NanoChat,
    tokenizer: Vocabulary,
    prompt: str,
    max_tokens: int,
    choice: Choice,
) -> str:
    """``prompt`` and how the model continues it, until ``max_tokens`` or the document's end.

    The same arguments give the same text. When the text outgrows the context, the model forgets
    its older half: see ``kv_cache.window_start``.
    """
    cache, decoder = KeyValueCache(model), Decoder(tokenizer)
    cache.extend([tokenizer.bos, *tokenizer.encode(prompt)])
    written = continuation(cache, Chooser(choice), max_tokens, end=tokenizer.bos)
    return prompt + "".join(map(decoder.feed, written)) + decoder.end()


def greedy(model: NanoChat, ids: Sequence[int], n: int) -> list[int]:
    """The ``n`` tokens that follow ``ids`` when the most likely one is always taken.

    Goes on after the end of a document. Raises ValueError when ``ids`` is empty.
    """
    cache = KeyValueCache(model)
    cache.extend(ids)
    return list(continuation(cache, Chooser(Choice(temperature=0.0)), n, end=None))
