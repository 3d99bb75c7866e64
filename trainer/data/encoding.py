"""Encoding: a group of documents becomes the tokens that the shards hold.

Many at a time in threads. tiktoken lets go of the interpreter's lock while it works, and that is
98 % of the time here. Processes would gain nothing: they too would wait for the one thread that
reads the corpus and writes the shards, at about 80 MB of text a second, ten cores' worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.formats import Document
from trainer.data.places import is_validation, place_of
from trainer.data.shards import token_dtype
from trainer.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Encoded:
    """A group of documents as the shards hold them: train first, then validation."""

    #: for each split the tokens of each document [n], its <|bos|> counted
    lengths: tuple[NDArray[np.int64], NDArray[np.int64]]
    #: for each split the tokens of all of them
    tokens: tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger]]
    #: of all documents, the lowest and the highest ``place_of``
    lowest: int
    highest: int


def encode(tokenizer: Tokenizer, group: Sequence[Document], permille: int) -> Encoded:
    """The tokens of some documents, each in the split where it belongs."""
    dtype = token_dtype(tokenizer.vocab_size)
    bos = np.array([tokenizer.bos], dtype)
    lengths: tuple[list[int], list[int]] = ([], [])
    parts: tuple[list[NDArray[np.unsignedinteger]], ...] = ([], [])
    places = [place_of(document.text) for document in group]
    for document, place in zip(group, places, strict=True):
        split = is_validation(document, place, permille)
        tokens = tokenizer.encode_array(document.text)
        lengths[split].append(len(tokens) + 1)
        parts[split].extend((bos, tokens))
    train, validation = (
        np.concatenate(part).astype(dtype) if part else np.empty(0, dtype) for part in parts
    )
    return Encoded(
        (np.array(lengths[0], np.int64), np.array(lengths[1], np.int64)),
        (train, validation),
        min(places, default=1000),
        max(places, default=-1),
    )
