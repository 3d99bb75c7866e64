"""Bits per byte on any text, read as the validation split is."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.unit.ask.conftest import Ended
from tests.unit.ask.test_trained import open_quietly, silent
from trainer.ask import evaluation
from trainer.ask.errors import AskError
from trainer.ask.texts import batches_of, documents_in
from trainer.ask.trained import tokenizer_of
from trainer.data import DataError, open_dataset, validation_batches
from trainer.data.loader import IGNORED

TEXTS = ["the run goes on and on", "", "naïve 日本", "x" * 300, "b"]


@pytest.mark.parametrize(("micro_batch", "length"), [(2, 8), (1, 300), (3, 32), (64, 64)])
def test_texts_become_the_batches_that_a_validation_split_of_them_has(
    trained: Callable[[str], Ended], micro_batch: int, length: int
) -> None:
    ended = trained("fp32")
    opened = open_quietly(ended.dir)
    dataset = open_dataset(ended.data_dir, opened.record.dataset)
    split = [
        dataset.tokenizer.decode(dataset.validation.document(number)[1:].tolist())
        for number in range(len(dataset.validation))
    ]
    ours = batches_of(split, dataset.tokenizer, micro_batch, length)
    theirs = validation_batches(dataset, micro_batch, length, dataset.validation.tokens)
    for (ids, targets), (their_ids, their_targets) in zip(ours, theirs, strict=True):
        assert ids.size(0) <= micro_batch
        count = int((their_targets != IGNORED).sum())
        assert torch.equal(targets.flatten()[:count], their_targets.flatten()[:count])
        assert torch.equal(ids.flatten()[:count], their_ids.flatten()[:count])
        assert bool((targets.flatten()[count:] == IGNORED).all())


def test_bits_per_byte_of_a_file_is_that_of_its_text(
    trained: Callable[[str], Ended], tmp_path: Path
) -> None:
    opened = open_quietly(trained("fp32").dir)
    tokenizer = tokenizer_of(opened)
    text = "the run goes on, naïve as it is\n" * 3
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = evaluation.of_texts(opened, tokenizer, [str(tmp_path / "a.txt")], silent)
    ids = torch.tensor([[tokenizer.bos, *tokenizer.encode(text)]])
    windows = [ids[:, start : start + 33] for start in range(0, ids.size(1) - 1, 32)]
    nats = sum(
        float(opened.model.loss(each[:, :-1], each[:, 1:], reduction="none").sum())
        for each in windows
    )
    assert found.text_bytes == len(text.encode())
    assert found.tokens == ids.size(1) - 1
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-5)


def test_files_directories_and_standard_input_are_read_in_order_with_progress(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes.md").write_text("# one", encoding="utf-8")
    directory = tmp_path / "dir"
    directory.mkdir()
    (directory / "b.jsonl").write_text(json.dumps({"text": "three"}) + "\n", encoding="utf-8")
    (directory / "a.txt").write_text("two", encoding="utf-8")
    (directory / "c.bin").write_bytes(b"\xff")
    told: list[float] = []
    names = [str(tmp_path / "notes.md"), str(directory), "-"]
    found = list(documents_in(names, told.append, io.BytesIO(b"four")))
    assert found == ["# one", "two", "three", "four"]
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_empty_texts_are_an_error(trained: Callable[[str], Ended], tmp_path: Path) -> None:
    opened = open_quietly(trained("fp32").dir)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(AskError, match="no text to evaluate"):
        evaluation.of_texts(opened, tokenizer_of(opened), [str(tmp_path / "empty.txt")], silent)


@pytest.mark.parametrize(
    ("raw", "message"), [(b"fine\n\xffbad", r"x\.txt:2: is not UTF-8"), (None, "no such file")]
)
def test_texts_that_cannot_be_read_are_named(
    tmp_path: Path, raw: bytes | None, message: str
) -> None:
    if raw is not None:
        (tmp_path / "x.txt").write_bytes(raw)
    with pytest.raises(DataError, match=message):
        list(documents_in([str(tmp_path / "x.txt")], lambda fraction: None))


def test_standard_input_that_is_no_utf8_is_named() -> None:
    with pytest.raises(DataError, match="standard input:1: is not UTF-8"):
        list(documents_in(["-"], lambda fraction: None, io.BytesIO(b"\xff")))


def test_the_validation_split_is_looked_at_as_far_as_wanted(
    trained: Callable[[str], Ended],
) -> None:
    opened = open_quietly(trained("fp32").dir)
    told: list[float] = []
    some = evaluation.of_validation(opened, None, 64, lambda what, part: told.append(part))
    whole = evaluation.of_validation(opened, None, 0, silent)
    assert some.tokens == 64
    assert told == [1.0]
    assert whole.tokens > opened.spec.train.eval_tokens
