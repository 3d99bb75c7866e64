"""Texts: files, directories and standard input as the batches that an evaluation wants."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.corpus import corpus_of_files, find_corpus
from trainer.data.formats import decode
from trainer.data.loader import IGNORED
from trainer.data.tokenizer import Tokenizer

STDIN = "-"


def documents_in(
    names: Sequence[str], read: Callable[[float], None], stdin: BinaryIO | None = None
) -> Iterator[str]:
    """The texts of files, of directories' files, and of standard input for "-", in order.

    .jsonl and .parquet are taken apart into their documents; every other file is one text.

    Args:
        read: told the part that is read, 0..1.

    Raises:
        DataError: something is missing, unreadable or no UTF-8; names file and line.
    """
    paths = [Path(name) for name in names if name != STDIN]
    corpora = {
        path: find_corpus(str(path)) if path.is_dir() else corpus_of_files([path]) for path in paths
    }
    total = max(1, sum(corpus.size_bytes for corpus in corpora.values()))
    before_bytes = 0
    for name in names:
        if name == STDIN:
            yield decode((stdin or sys.stdin.buffer).read(), "standard input")
            continue
        corpus = corpora[Path(name)]
        for document in corpus.documents():
            read((before_bytes + document.position) / total)
            yield document.text
        before_bytes += corpus.size_bytes


def batches_of(
    texts: Iterable[str], tokenizer: Tokenizer, micro_batch: int, sequence_length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """All predictions of some texts as ids and targets, int64 [B, T] each.

    The texts follow each other in one stream, each with its <|bos|> first, cut into sequences as
    the validation split is; the last batch is only as large as it must be.
    """
    batch_tokens = micro_batch * sequence_length
    stream: NDArray[np.int64] = np.empty(0, np.int64)
    bos = np.array([tokenizer.bos], np.int64)
    for text in texts:
        if not text:
            continue
        tokens = tokenizer.encode_array(text).astype(np.int64)
        stream = np.concatenate([stream, bos, tokens])
        while len(stream) > batch_tokens:
            yield _batch(stream[: batch_tokens + 1], sequence_length, tokenizer.bos)
            stream = stream[batch_tokens:]
    if len(stream) > 1:
        yield _batch(stream, sequence_length, tokenizer.bos)


def _batch(stream: NDArray[np.int64], sequence_length: int, bos: int) -> tuple[Tensor, Tensor]:
    """The predictions of a piece of the stream, padded to whole sequences."""
    count = len(stream) - 1
    length = min(count, sequence_length)
    rows = -(-count // length)
    ids = np.full(rows * length, bos, np.int64)
    targets = np.full(rows * length, IGNORED, np.int64)
    ids[:count], targets[:count] = stream[:-1], stream[1:]
    return (
        torch.from_numpy(ids.reshape(rows, length)),
        torch.from_numpy(targets.reshape(rows, length)),
    )
