"""Writing with a model: greedy or drawn, one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from trainer.model import NanoChat


class Vocabulary(Protocol):
    """What sampling needs of a tokenizer."""

    @property
    def bos(self) -> int:
        """Begins every document, and so also ends the one before."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without bos."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""


def sample(
    model: NanoChat,
    tokenizer: Vocabulary,
    prompt: str,
    max_tokens: int,
    temperature: float,
    seed: int,
    top_k: int = 50,
) -> str:
    """``prompt`` and how the model continues it, until ``max_tokens`` or the document's end.

    Each token is drawn among the ``top_k`` most likely (0: among all), by a private generator:
    the same arguments give the same text. ``temperature`` 0 always takes the most likely one.

    Raises:
        ValueError: ``temperature``, ``top_k`` or ``max_tokens`` is negative.
    """
    if min(temperature, top_k, max_tokens) < 0:
        raise ValueError("temperature, top_k and max_tokens must not be negative")
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: Tensor) -> int:
        return _draw(logits, temperature, top_k, generator) if temperature else _likeliest(logits)

    ids = [tokenizer.bos, *tokenizer.encode(prompt)]
    written = _continue(model, ids, max_tokens, draw, end=tokenizer.bos)
    return prompt + tokenizer.decode(written)


def greedy(model: NanoChat, ids: list[int], n: int) -> list[int]:
    """The ``n`` tokens that follow ``ids`` when the most likely one is always taken.

    Goes on after the end of a document. Raises ValueError when ``ids`` is empty.
    """
    return _continue(model, ids, n, _likeliest, end=None)


@torch.no_grad()
def _continue(
    model: NanoChat, ids: list[int], n: int, choose: Callable[[Tensor], int], end: int | None
) -> list[int]:
    if not ids:
        raise ValueError("nothing to continue: give at least one token")
    device, context = model.lm_head.weight.device, model.shape.sequence_length
    written: list[int] = []
    while len(written) < n:
        # what has left the context is forgotten
        seen = torch.tensor([(ids + written)[-context:]], device=device)
        token = choose(model.logits(model.hidden(seen)[:, -1])[0].cpu())
        if token == end:
            break
        written.append(token)
    return written


def _likeliest(logits: Tensor) -> int:
    return int(logits.argmax())


def _draw(logits: Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    best, ids = torch.topk(logits, min(top_k or len(logits), len(logits)))
    place = torch.multinomial(torch.softmax(best / temperature, 0), 1, generator=generator)
    return int(ids[place])
