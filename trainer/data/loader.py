"""Loader: which tokens the n-th micro-batch has, as a pure function of n."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.dataset import Dataset
from trainer.data.errors import DataError
from trainer.data.shards import Documents

#: documents between two entries of an order's table
BLOCK_DOCUMENTS = 256

#: documents looked at together while the table is made: a multiple of the above
TABLE_DOCUMENTS = 1 << 18

#: orders kept: a micro-batch at the border of two epochs needs both
_ORDERS = 2

#: the target that no loss counts
IGNORED = -1


class Order:
    """The documents of one epoch in their order, and where each begins in the epoch's stream.

    The order is that of 32 random bits a document from Philox, keyed by seed and epoch; ties keep
    the documents' own order. Only Philox's raw stream is used, which numpy promises not to change
    between versions. A table of block starts keeps memory at four bytes a document.
    """

    def __init__(self, documents: Documents, seed: int, epoch: int) -> None:
        self._documents = documents
        self._order = _permutation(len(documents), seed, epoch)
        sizes = [np.zeros(1, np.int64)]
        for first in range(0, len(documents), TABLE_DOCUMENTS):
            lengths = self._spans(first, first + TABLE_DOCUMENTS)[1]
            sizes.append(np.add.reduceat(lengths, np.arange(0, len(lengths), BLOCK_DOCUMENTS)))
        self._block_starts = np.cumsum(np.concatenate(sizes))

    def read(self, start: int, out: NDArray[np.int64]) -> None:
        """Fill ``out`` with the epoch's tokens from ``start`` on; they must be there."""
        stop = start + len(out)
        first = int(np.searchsorted(self._block_starts, start, "right")) - 1
        last = int(np.searchsorted(self._block_starts, stop, "left"))
        sources, lengths = self._spans(first * BLOCK_DOCUMENTS, last * BLOCK_DOCUMENTS)
        ends = self._block_starts[first] + np.cumsum(lengths)
        begin = int(np.searchsorted(ends, start, "right"))
        end = int(np.searchsorted(ends, stop, "left")) + 1
        done = 0
        for source, length, own_end in zip(
            sources[begin:end].tolist(),
            lengths[begin:end].tolist(),
            ends[begin:end].tolist(),
            strict=True,
        ):
            skip = max(0, start - (own_end - length))
            take = min(own_end, stop) - (own_end - length) - skip
            self._documents.read(source + skip, out[done : done + take])
            done += take

    def _spans(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        chosen = self._order[first:last].astype(np.int64)
        sources = self._documents.offsets[chosen]
        return sources, self._documents.offsets[chosen + 1] - sources


def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.uint32]:
    key = np.array([seed, epoch], np.uint64)
    keys = np.asarray(np.random.Philox(key=key).random_raw(count), np.uint64)
    keys &= np.uint64(0xFFFF_FFFF_0000_0000)
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFF_FFFF)).astype(np.uint32)


class Loader:
    """Cuts the endless stream of shuffled documents into micro-batches.

    The stream is epoch after epoch, each with every document once, in another order. Micro-batch
    k of B sequences of T tokens is the stream from k*B*T to (k+1)*B*T, its targets are the same
    one token further. So the whole state of the data is one number, and the size of a micro-batch
    does not change the stream.
    """

    def __init__(
        self, documents: Documents, seed: int, micro_batch: int, sequence_length: int
    ) -> None:
        if not 0 < len(documents) < 1 << 32:
            raise DataError(
                f"{len(documents)} documents cannot be shuffled", "use 1 to 4 billion documents"
            )
        self._documents = documents
        self._seed = seed
        self._shape = (micro_batch, sequence_length)
        self._batch_tokens = micro_batch * sequence_length
        self._orders: OrderedDict[int, Order] = OrderedDict()

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Micro-batch number ``index``: ids and targets, int64 [B, T] each."""
        if index < 0:
            raise ValueError(f"micro-batches are numbered from 0, not {index}")
        stream = np.empty(self._batch_tokens + 1, np.int64)
        self._read(index * self._batch_tokens, stream)
        return _tensor(stream[:-1], self._shape), _tensor(stream[1:], self._shape)

    def epoch(self, index: int) -> float:
        """Epochs consumed before micro-batch ``index``: 0.0 at the start, 1.0 after all once."""
        return index * self._batch_tokens / self._documents.tokens

    def _read(self, position: int, out: NDArray[np.int64]) -> None:
        done = 0
        while done < len(out):
            epoch, start = divmod(position + done, self._documents.tokens)
            take = min(self._documents.tokens - start, len(out) - done)
            self._order(epoch).read(start, out[done : done + take])
            done += take

    def _order(self, epoch: int) -> Order:
        if epoch not in self._orders:
            self._orders[epoch] = Order(self._documents, self._seed, epoch)
            if len(self._orders) > _ORDERS:
                self._orders.popitem(last=False)
        return self._orders[epoch]


def validation_batches(
    dataset: Dataset, micro_batch: int, sequence_length: int, tokens: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first ``tokens`` predictions of the validation documents in their own order.

    Always the same ones, whatever the size of the micro-batch. At least one batch; ids and targets
    are int64 [B, T], and targets after the end are -1.
    """
    documents = dataset.validation
    shape = (micro_batch, sequence_length)
    batch_tokens = micro_batch * sequence_length
    count = max(1, min(tokens, documents.tokens - 1))
    for start in range(0, count, batch_tokens):
        take = min(batch_tokens, count - start)
        stream = np.empty(take + 1, np.int64)
        documents.read(start, stream)
        ids = np.full(batch_tokens, dataset.tokenizer.bos, np.int64)
        targets = np.full(batch_tokens, IGNORED, np.int64)
        ids[:take], targets[:take] = stream[:-1], stream[1:]
        yield _tensor(ids, shape), _tensor(targets, shape)


def _tensor(tokens: NDArray[np.int64], shape: tuple[int, int]) -> Tensor:
    return torch.from_numpy(tokens.reshape(shape).copy())
