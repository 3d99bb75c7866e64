"""The loader: a pure function from the number of a micro-batch to its tokens."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.test_dataset import BOS, write_documents
from trainer.data import DataError, Dataset, Documents, Loader, Tokenizer, validation_batches
from trainer.data.loader import BLOCK_DOCUMENTS, _permutation

CONTENTS = st.lists(st.lists(st.integers(10, 99), min_size=1, max_size=9), min_size=1, max_size=12)


def documents_of(contents: list[list[int]], shard_tokens: int = 30) -> Documents:
    """Mapped files stay readable after their directory is gone."""
    with tempfile.TemporaryDirectory() as directory:
        return write_documents(Path(directory), contents, shard_tokens=shard_tokens)


def numbered(count: int) -> Documents:
    """Documents of different lengths that never repeat a token sequence."""
    contents = [[10 + n % 89] * (1 + n % 7) + [10 + n // 89] for n in range(count)]
    return documents_of(contents, shard_tokens=1000)


def naive_stream(contents: list[list[int]], seed: int, length: int) -> list[int]:
    stream: list[int] = []
    epoch = 0
    while len(stream) < length:
        for number in _permutation(len(contents), seed, epoch):
            stream += [BOS, *contents[number]]
        epoch += 1
    return stream[:length]


@settings(max_examples=40)
@given(CONTENTS, st.integers(0, (1 << 63) - 1), st.integers(1, 4), st.integers(1, 9))
def test_batches_one_after_the_other_are_the_naive_stream(
    contents: list[list[int]], seed: int, micro_batch: int, sequence_length: int
) -> None:
    loader = Loader(documents_of(contents), seed, micro_batch, sequence_length)
    batches = [loader.batch(index) for index in range(12)]
    size = micro_batch * sequence_length
    expected = naive_stream(contents, seed, 12 * size + 1)
    assert torch.cat([ids.flatten() for ids, _ in batches]).tolist() == expected[:-1]
    assert torch.cat([targets.flatten() for _, targets in batches]).tolist() == expected[1:]


@settings(max_examples=40)
@given(CONTENTS, st.integers(0, 1000), st.randoms())
def test_batch_does_not_depend_on_what_was_asked_before(
    contents: list[list[int]], seed: int, chance: random.Random
) -> None:
    documents = documents_of(contents)
    loader = Loader(documents, seed, 2, 5)
    order = [chance.randrange(60) for _ in range(20)]
    for index in order:
        fresh = Loader(documents, seed, 2, 5).batch(index)
        assert all(map(torch.equal, loader.batch(index), fresh))


@settings(max_examples=20)
@given(st.integers(0, 5), st.sampled_from([(1, 12), (2, 6), (3, 4), (4, 3), (6, 1)]))
def test_size_of_the_micro_batch_does_not_change_the_stream(
    seed: int, shape: tuple[int, int]
) -> None:
    documents = numbered(30)
    loader = Loader(documents, seed, *shape)
    count = 240 // (shape[0] * shape[1])
    stream = torch.cat([loader.batch(index)[0].flatten() for index in range(count)])
    assert stream.tolist() == Loader(documents, seed, 1, 240).batch(0)[0].flatten().tolist()


def test_every_document_is_there_exactly_once_in_each_epoch_in_another_order() -> None:
    documents = numbered(600)  # more than two blocks of the table
    loader = Loader(documents, 1337, 1, documents.tokens)
    orders = []
    for epoch in range(3):
        tokens = loader.batch(epoch)[0].flatten().tolist()
        orders.append(split_at_bos(tokens))
    expected = Counter(tuple(documents.document(n).tolist()[1:]) for n in range(600))
    assert all(Counter(order) == expected for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_table_made_in_several_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = numbered(600)
    whole = Loader(documents, 7, 1, documents.tokens).batch(0)[0]
    monkeypatch.setattr("trainer.data.loader.TABLE_DOCUMENTS", BLOCK_DOCUMENTS)
    assert torch.equal(Loader(documents, 7, 1, documents.tokens).batch(0)[0], whole)


def split_at_bos(tokens: list[int]) -> list[tuple[int, ...]]:
    assert tokens[0] == BOS
    starts = [place for place, token in enumerate(tokens) if token == BOS] + [len(tokens)]
    return [tuple(tokens[a + 1 : b]) for a, b in itertools.pairwise(starts)]


def test_another_seed_gives_another_order() -> None:
    documents = numbered(50)
    first, second = (Loader(documents, seed, 1, documents.tokens).batch(0)[0] for seed in (1, 2))
    assert not torch.equal(first, second)


def test_order_is_the_one_of_old_so_that_old_runs_can_go_on() -> None:
    assert _permutation(8, 1337, 0).tolist() == [2, 4, 5, 6, 7, 3, 0, 1]
    assert _permutation(8, 1337, 1).tolist() == [3, 7, 0, 1, 6, 5, 2, 4]


def test_every_place_can_come_first() -> None:
    firsts = Counter(int(_permutation(5, 7, epoch)[0]) for epoch in range(2000))
    assert set(firsts) == set(range(5))
    assert all(300 < count < 500 for count in firsts.values())


def test_epoch_is_told_exactly() -> None:
    documents = numbered(30)
    loader = Loader(documents, 0, 2, 5)
    assert loader.epoch(0) == 0.0
    assert loader.epoch(7) == 70 / documents.tokens
    assert Loader(documents, 0, 1, documents.tokens).epoch(3) == 3.0


def test_batch_has_shape_and_type_and_owns_its_memory() -> None:
    loader = Loader(numbered(30), 0, 3, 4)
    ids, targets = loader.batch(5)
    assert ids.shape == targets.shape == (3, 4)
    assert ids.dtype == targets.dtype == torch.int64
    ids.zero_()
    assert int(targets.min()) > 0
    assert int(loader.batch(5)[0].min()) > 0


def test_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="numbered from 0, not -1"):
        Loader(numbered(3), 0, 1, 4).batch(-1)


def test_split_without_documents_is_refused(tmp_path: Path) -> None:
    empty = write_documents(tmp_path, [])
    with pytest.raises(DataError, match="0 documents cannot be shuffled"):
        Loader(empty, 0, 1, 4)


def dataset_with(validation: Documents) -> Dataset:
    tokenizer = Tokenizer.of([bytes([byte]) for byte in range(256)])
    lengths = tokenizer.token_bytes()
    return Dataset("0" * 32, Path("nowhere"), tokenizer, validation, validation, lengths)


def predictions(dataset: Dataset, micro_batch: int, tokens: int) -> list[tuple[int, int]]:
    pairs = []
    for ids, targets in validation_batches(dataset, micro_batch, 5, tokens):
        assert ids.shape == targets.shape == (micro_batch, 5)
        assert ids.dtype == targets.dtype == torch.int64
        flat = zip(ids.flatten().tolist(), targets.flatten().tolist(), strict=True)
        pairs += [pair for pair in flat if pair[1] != -1]
    return pairs


@settings(max_examples=40)
@given(CONTENTS, st.integers(1, 130), st.integers(1, 4))
def test_validation_is_the_first_tokens_whatever_the_micro_batch(
    contents: list[list[int]], tokens: int, micro_batch: int
) -> None:
    stream = [token for content in contents for token in [BOS, *content]]
    dataset = dataset_with(documents_of(contents))
    expected = list(itertools.pairwise(stream))[:tokens]
    assert expected
    assert predictions(dataset, micro_batch, tokens) == expected
    assert predictions(dataset, micro_batch, tokens) == expected


def test_end_of_validation_is_padded_with_ids_that_exist_and_targets_that_do_not_count() -> None:
    dataset = dataset_with(documents_of([[11, 12, 13]]))
    ((ids, targets),) = validation_batches(dataset, 2, 4, 1000)
    bos = dataset.tokenizer.bos
    assert ids.tolist() == [[BOS, 11, 12, bos], [bos] * 4]
    assert targets.tolist() == [[11, 12, 13, -1], [-1] * 4]


def test_order_takes_four_bytes_a_document() -> None:
    assert _permutation(1000, 0, 0).dtype == np.uint32
