"""Shards: a split's tokens as raw little-endian files, and the index of its documents.

A split is one stream of tokens, document after document, each with its <|bos|> first. The stream
is cut into shards, always between documents. ``<split>.index`` holds n + 1 little-endian int64:
where each of the n documents begins in the stream, and where the stream ends.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: a shard is closed when it has so many tokens
SHARD_TOKENS = 1 << 27

_INDEX_DTYPE = np.dtype("<i8")


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Two bytes a token where they suffice, else four."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


@dataclass(frozen=True)
class FileFacts:
    """Size and BLAKE2b-128 of a file that was written."""

    name: str
    size_bytes: int
    blake2b: str


class HashedFile:
    """A new file that is hashed while it is written and synced when it is closed."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("xb")
        self._digest = hashlib.blake2b(digest_size=16)
        self._size_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._file.write(data)
        self._digest.update(data)
        self._size_bytes += len(data)

    def close(self) -> FileFacts:
        """Make it durable."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return FileFacts(self._name, self._size_bytes, self._digest.hexdigest())

    def abandon(self) -> None:
        """Close it as it is; nothing happens when it is closed already."""
        self._file.close()


class SplitWriter:
    """Writes one split. Use ``close`` or ``abandon``."""

    def __init__(self, directory: Path, split: str, shard_tokens: int = SHARD_TOKENS) -> None:
        self._directory = directory
        self._split = split
        self._shard_tokens = shard_tokens
        self._index = HashedFile(directory / f"{split}.index")
        self._index.write(np.zeros(1, _INDEX_DTYPE).tobytes())
        self._shard: HashedFile | None = None
        self._in_shard = 0
        self._facts: list[FileFacts] = []
        self.documents = 0
        #: tokens written, <|bos|> included
        self.tokens = 0

    def add(self, lengths: NDArray[np.int64], tokens: NDArray[np.unsignedinteger]) -> None:
        """Append documents: the tokens of each [n], <|bos|> included, and all of them in a row.

        ``tokens`` have the dtype that they are to have on disk.
        """
        ends = np.cumsum(lengths, dtype=np.int64)
        first, start = 0, 0
        while first < len(lengths):
            # a shard takes whole documents until it has enough
            enough = start + self._shard_tokens - self._in_shard
            last = min(int(np.searchsorted(ends, enough, "left")), len(lengths) - 1)
            self._append(tokens[start : ends[last]])
            self._index.write((self.tokens + ends[first : last + 1]).astype(_INDEX_DTYPE).tobytes())
            first, start = last + 1, int(ends[last])
            if self._in_shard >= self._shard_tokens:
                self._close_shard()
        self.documents += len(lengths)
        self.tokens += start

    def close(self) -> tuple[list[FileFacts], FileFacts]:
        """Make all files durable; gives the shards in order, and the index."""
        self._close_shard()
        return self._facts, self._index.close()

    def abandon(self) -> None:
        """Close the files as they are."""
        self._index.abandon()
        if self._shard is not None:
            self._shard.abandon()

    def _append(self, tokens: NDArray[np.unsignedinteger]) -> None:
        if self._shard is None:
            name = f"{self._split}-{len(self._facts):05d}.tokens"
            self._shard = HashedFile(self._directory / name)
        self._shard.write(tokens.tobytes())
        self._in_shard += len(tokens)

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._facts.append(self._shard.close())
            self._shard, self._in_shard = None, 0


class Documents:
    """One split, memory-mapped: a stream of tokens and where each document begins in it."""

    def __init__(self, index: Path, shards: Sequence[Path], dtype: np.dtype[Any]) -> None:
        #: [n + 1] int64: document i is the stream from offsets[i] to offsets[i + 1]
        self.offsets: NDArray[np.int64] = np.asarray(np.memmap(index, _INDEX_DTYPE, mode="r"))
        self._shards = [np.asarray(np.memmap(shard, dtype, mode="r")) for shard in shards]
        sizes = [0, *(len(shard) for shard in self._shards)]
        self._starts: list[int] = np.cumsum(sizes).tolist()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """Tokens of the stream, every <|bos|> included: what one epoch consumes."""
        return int(self.offsets[-1])

    def document(self, number: int) -> NDArray[np.int64]:
        """The tokens of a document, <|bos|> first."""
        start, stop = int(self.offsets[number]), int(self.offsets[number + 1])
        out = np.empty(stop - start, np.int64)
        self.read(start, out)
        return out

    def read(self, start: int, out: NDArray[np.int64]) -> None:
        """Fill ``out`` with the stream's tokens from ``start`` on."""
        shard = bisect_right(self._starts, start) - 1
        done = 0
        while done < len(out):
            within = start + done - self._starts[shard]
            part = self._shards[shard][within : within + len(out) - done]
            out[done : done + len(part)] = part
            done += len(part)
            shard += 1
