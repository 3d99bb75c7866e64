"""The key/value cache: reading on costs the new tokens alone, not the whole text again.

What a token's attention needs of the tokens before it are their keys and values in every layer.
They are kept, so that one more token costs one pass of one token through the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from trainer.model import Attention, NanoChat, norm, rotate

#: the cache begins with room for so many tokens and doubles until it has the whole context
_FIRST_ROOM = 256


def window_start(tokens: int, context: int) -> int:
    """The first of ``tokens`` tokens that a model with this context still sees.

    Zero while they fit. Whenever they do not, the older half of the window is forgotten and the
    newer half read again, as if the text began there: positions count from the window's start, so
    keys and values cannot be moved. That costs about one more token's work for every token
    written. It depends on nothing but the length, not on how the text came.
    """
    half = context // 2
    return 0 if tokens <= context else -(-(tokens - context) // half) * half


class KeyValueCache:
    """One growing text and the model's view of it. Gradients are never kept."""

    def __init__(self, model: NanoChat) -> None:
        self._model = model
        self._context = model.shape.sequence_length
        self._layers = [_Layer(self._context) for _ in range(model.shape.layers)]
        self._start = 0
        #: tokens from the window's start whose keys and values are kept
        self._kept = 0
        self._logits: Tensor | None = None
        #: the whole text, also what has left the window
        self.ids: list[int] = []

    def extend(self, ids: Sequence[int]) -> None:
        """Append tokens; they are read when ``logits`` is asked for."""
        self.ids += ids

    def logits(self) -> Tensor:
        """Softcapped float32 logits [V] of the token that follows the text, on the CPU.

        Raises:
            ValueError: the text is empty.
        """
        if not self.ids:
            raise ValueError("nothing to continue: give at least one token")
        start = window_start(len(self.ids), self._context)
        if start != self._start:
            self._start, self._kept = start, 0
        fresh = self.ids[self._start + self._kept :]
        if fresh or self._logits is None:
            self._logits = self._read(fresh)
        return self._logits

    @torch.no_grad()
    def _read(self, ids: list[int]) -> Tensor:
        """The forward pass of the model over ``ids`` alone, with what is kept before them."""
        model, end = self._model, self._kept + len(ids)
        x = model.embed(torch.tensor([ids], device=model.rope.cos.device))
        cos, sin = (table[self._kept :] for table in model.rope(end))
        for block, layer in zip(model.transformer.blocks(), self._layers, strict=True):
            x = x + layer.attend(block.attn, norm(x), cos, sin, self._kept)
            x = x + block.mlp(norm(x))
        logits = model.logits(norm(x)[:, -1])[0]
        self._kept = end
        return logits.cpu()


class _Layer:
    """Keys and values of one layer [1, H, room, D]; ``H`` counts key/value heads."""

    def __init__(self, context: int) -> None:
        self._context = context
        self._keys = self._values = torch.empty(1, 1, 0, 1)

    def attend(
        self, attention: Attention, x: Tensor, cos: Tensor, sin: Tensor, before: int
    ) -> Tensor:
        """``Attention`` for ``x`` [1, T, C], which stands after ``before`` kept tokens."""
        query, key, value = (
            project(x).unflatten(-1, (-1, attention.head_dim))
            for project in (attention.c_q, attention.c_k, attention.c_v)
        )
        query = norm(rotate(query, cos, sin)).transpose(1, 2)
        key = norm(rotate(key, cos, sin)).transpose(1, 2)
        length = x.size(1)
        keys, values = self._keep(key, value.transpose(1, 2), before)
        mixed = F.scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=_causal(length, before, x.device) if before and length > 1 else None,
            is_causal=not before,
            enable_gqa=attention.grouped,
        )
        out: Tensor = attention.c_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _keep(self, key: Tensor, value: Tensor, before: int) -> tuple[Tensor, Tensor]:
        end = before + key.size(2)
        if end > self._keys.size(2):
            self._grow(value, before, end)
        self._keys[:, :, before:end] = key
        self._values[:, :, before:end] = value
        return self._keys[:, :, :end], self._values[:, :, :end]

    def _grow(self, like: Tensor, before: int, end: int) -> None:
        """Room for ``end`` tokens, in the dtype of ``like``."""
        room = _FIRST_ROOM
        while room < end:
            room *= 2
        shape = (*like.shape[:2], min(room, self._context), like.shape[3])
        keys, values = like.new_empty(shape), like.new_empty(shape)
        if before:
            keys[:, :, :before] = self._keys[:, :, :before]
            values[:, :, :before] = self._values[:, :, :before]
        self._keys, self._values = keys, values


def _causal(length: int, before: int, device: torch.device) -> Tensor:
    """[T, before + T] which of the tokens each of the new ones may look at."""
    everything = torch.ones(length, before + length, dtype=torch.bool, device=device)
    return everything.tril(diagonal=before)
