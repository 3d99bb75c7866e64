"""A prepared dataset: opened only when it is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.data import DataError, Dataset, Documents, open_dataset, verify_shards
from trainer.data.dataset import checksum
from trainer.data.shards import SplitWriter, token_dtype

BOS = 9


def write_documents(
    directory: Path, documents: list[list[int]], *, vocab_size: int = 100, shard_tokens: int = 7
) -> Documents:
    """A split of the given documents, cut into tiny shards."""
    dtype = token_dtype(vocab_size)
    writer = SplitWriter(directory, "train", shard_tokens)
    for group in (documents[:2], documents[2:2], documents[2:]):
        lengths = np.array([len(document) + 1 for document in group], np.int64)
        tokens = [token for document in group for token in (BOS, *document)]
        writer.add(lengths, np.array(tokens, dtype))
    shards, index = writer.close()
    paths = [directory / facts.name for facts in shards]
    return Documents(directory / index.name, paths, dtype)


def test_opened_dataset_is_the_prepared_one(prepared: Dataset) -> None:
    opened = open_dataset(prepared.dir.parent, prepared.id)
    assert opened.id == prepared.id
    assert np.array_equal(opened.train.offsets, prepared.train.offsets)
    assert opened.tokenizer.to_json() == prepared.tokenizer.to_json()
    verify_shards(opened)


@pytest.mark.parametrize("name", ["", "..", "0" * 32, "../" + "0" * 29, "known"])
def test_dataset_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "known").mkdir()
    with pytest.raises(DataError, match="has no dataset"):
        open_dataset(tmp_path, name)


@pytest.mark.parametrize(
    "file",
    ["manifest.json", "tokenizer.json", "train.index", "validation.index", "train-00000.tokens"],
)
@pytest.mark.parametrize("damage", ["missing", "cut", "longer"])
def test_missing_or_cut_file_is_named(
    prepared: Dataset, copy_of_prepared: Callable[[], Path], file: str, damage: str
) -> None:
    data_dir = copy_of_prepared()
    victim = data_dir / prepared.id / file
    if damage == "missing":
        victim.unlink()
    else:
        raw = victim.read_bytes()
        victim.write_bytes(raw[:-2] if damage == "cut" else raw + b"xx")
    with pytest.raises(DataError) as refused:
        open_dataset(data_dir, prepared.id)
    assert str(refused.value).startswith(str(victim))
    assert "prepare the data anew" in refused.value.fix


@pytest.mark.parametrize("file", ["manifest.json", "tokenizer.json", "train.index"])
def test_single_wrong_byte_is_noticed_when_opening(
    prepared: Dataset, copy_of_prepared: Callable[[], Path], file: str
) -> None:
    data_dir = copy_of_prepared()
    flip_a_bit(data_dir / prepared.id / file)
    with pytest.raises(DataError, match=file):
        open_dataset(data_dir, prepared.id)


def test_single_wrong_byte_in_a_shard_is_found_by_reading_it(
    prepared: Dataset, copy_of_prepared: Callable[[], Path]
) -> None:
    data_dir = copy_of_prepared()
    flip_a_bit(data_dir / prepared.id / "train-00000.tokens")
    opened = open_dataset(data_dir, prepared.id)
    with pytest.raises(DataError, match=r"train-00000\.tokens: is damaged"):
        verify_shards(opened)


def flip_a_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def rewrite(manifest: Path, **changes: object) -> None:
    plain = {**json.loads(manifest.read_text()), **changes}
    del plain["checksum"]
    manifest.write_text(json.dumps({**plain, "checksum": checksum(plain)}))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "its format is 2, this version reads 1"),
        ({"files": {}}, "it does not list tokenizer.json"),
        ({"id": "0" * 32}, "belongs to the dataset 000"),
        ({"shards": {}}, "is damaged"),
    ],
)
def test_manifest_that_does_not_belong_is_refused(
    prepared: Dataset, copy_of_prepared: Callable[[], Path], changes: dict[str, object], why: str
) -> None:
    data_dir = copy_of_prepared()
    rewrite(data_dir / prepared.id / "manifest.json", **changes)
    with pytest.raises(DataError, match=why):
        open_dataset(data_dir, prepared.id)


def test_manifest_tells_nothing_about_the_machine(prepared: Dataset) -> None:
    text = (prepared.dir / "manifest.json").read_text()
    assert str(prepared.dir.parent.parent) not in text
    plain = json.loads(text)
    assert plain["counts"]["train"] == {
        "documents": len(prepared.train),
        "tokens": prepared.train.tokens,
    }


@pytest.mark.parametrize("vocab_size", [100, 70_000])
def test_shards_are_cut_between_documents_and_read_as_one_stream(
    tmp_path: Path, vocab_size: int
) -> None:
    highest = vocab_size - 1
    contents = [[1], [2, 3, highest], [4] * 20, [5], [6, 7]]
    documents = write_documents(tmp_path, contents, vocab_size=vocab_size)
    stream = [token for content in contents for token in [BOS, *content]]
    sizes = [file.stat().st_size for file in sorted(tmp_path.glob("*.tokens"))]
    assert sizes == [n * token_dtype(vocab_size).itemsize for n in (2 + 4 + 21, 2 + 3)]
    assert documents.tokens == len(stream)
    assert documents.document(1).tolist() == [BOS, 2, 3, highest]
    for start in range(len(stream)):
        for stop in range(start, len(stream) + 1):
            out = np.empty(stop - start, np.int64)
            documents.read(start, out)
            assert out.tolist() == stream[start:stop]


def test_tokens_are_little_endian_on_every_machine(tmp_path: Path) -> None:
    write_documents(tmp_path, [[258]], vocab_size=300)
    assert (tmp_path / "train-00000.tokens").read_bytes() == bytes([BOS, 0, 2, 1])
    assert (tmp_path / "train.index").read_bytes() == bytes(8) + bytes([2]) + bytes(7)
