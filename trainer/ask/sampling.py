"""Sampling: one text, continued by the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.ask.trained import Trained
from trainer.chat import Choice, Chooser, Decoder, continuation
from trainer.clock import Clock
from trainer.data.tokenizer import Tokenizer
from trainer.kv_cache import KeyValueCache


@dataclass(frozen=True)
class Sample:
    """What the model wrote after a prompt."""

    text: str
    tokens: int
    #: whether the model ended the document by itself
    ended: bool
    seconds: float


def write(
    trained: Trained,
    tokenizer: Tokenizer,
    prompt: str,
    max_tokens: int,
    choice: Choice,
    show: Callable[[str], None],
    clock: Clock,
) -> Sample:
    """Continue ``prompt`` and ``show`` each bit of text as soon as its characters are whole."""
    begun = clock.monotonic()
    cache = KeyValueCache(trained.model)
    cache.extend([tokenizer.bos, *tokenizer.encode(prompt)])
    decoder, text, count = Decoder(tokenizer), "", 0
    for token in continuation(cache, Chooser(choice), max_tokens, end=tokenizer.bos):
        count += 1
        bit = decoder.feed(token)
        text += bit
        show(bit)
    rest = decoder.end()
    show(rest)
    return Sample(text + rest, count, count < max_tokens, clock.monotonic() - begun)
