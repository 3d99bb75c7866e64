"""Preparation: once, reproducibly, atomically, never in each other's way."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import psutil
import pytest

from tests.unit.data.conftest import VOCAB_SIZE, data_spec, silent, texts, write_corpus
from tests.unit.data.test_watch import AbortError, SteppingClock
from trainer.clock import SystemClock
from trainer.contract.spec import DataSpec
from trainer.data import DataError, Dataset, preparation, prepare
from trainer.data.corpus import Corpus
from trainer.data.formats import Document
from trainer.data.places import place_of
from trainer.data.preparation import GROUP_CHARACTERS, GROUP_DOCUMENTS, groups
from trainer.data.shards import HashedFile, token_dtype
from trainer.data.storage import Storage
from trainer.data.watch import Watch


def contents(dataset: Dataset) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in dataset.dir.iterdir()}


def documents_of(dataset: Dataset, split: str) -> list[str]:
    documents = getattr(dataset, split)
    bos = dataset.tokenizer.bos
    read = [documents.document(number).tolist() for number in range(len(documents))]
    assert all(tokens[0] == bos and bos not in tokens[1:] for tokens in read)
    return [dataset.tokenizer.decode(tokens[1:]) for tokens in read]


def temporary(data_dir: Path) -> list[str]:
    return sorted(path.name for path in data_dir.glob("tmp-*"))


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the corpus had been written long ago."""
    monkeypatch.setattr("trainer.data.preparation.SETTLED_NS", -(10**12))


def refuse_to_read(*_: Any) -> NoReturn:
    raise AssertionError("the corpus was read")


def test_every_document_is_in_exactly_one_split_in_the_order_of_the_corpus(
    prepared: Dataset,
) -> None:
    expected = texts()
    validation = [text for text in expected if place_of(text) < 200]
    assert documents_of(prepared, "validation") == validation
    assert documents_of(prepared, "train") == [t for t in expected if t not in validation]
    assert prepared.tokenizer.vocab_size == VOCAB_SIZE
    assert np.array_equal(prepared.token_bytes, prepared.tokenizer.token_bytes())


def test_same_corpus_elsewhere_gives_the_same_bytes_with_any_number_of_threads(
    prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "GROUP_DOCUMENTS", 3)
    corpus = write_corpus(tmp_path / "other place", texts())
    again = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent, threads=3)
    assert again.dir != prepared.dir
    assert again.id == prepared.id
    assert contents(again) == contents(prepared)


def test_a_corpus_that_names_its_validation_documents_is_cut_there(
    tmp_path: Path,
) -> None:
    corpus = write_corpus(tmp_path / "corpus", texts()[:30])
    write_corpus(corpus / "validation", texts()[30:])
    made = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "one", silent, threads=1)
    assert documents_of(made, "validation") == texts()[30:]
    assert documents_of(made, "train") == texts()[:30]
    again = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "two", silent, threads=2)
    assert contents(again) == contents(made)
    (corpus / "validation").rename(corpus / "elsewhere")
    other = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "one", silent, threads=1)
    assert other.id != made.id
    shutil.rmtree(corpus / "elsewhere")
    write_corpus(corpus / "validation", [""])
    with pytest.raises(DataError, match="falls into the validation split") as refused:
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "one", silent, threads=1)
    assert "its directory validation" in refused.value.fix


def test_formats_do_not_matter_to_the_documents(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts())
    (corpus / "all.jsonl").write_text(lines)
    dataset = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert len(dataset.train) + len(dataset.validation) == len(texts())


@pytest.mark.parametrize(
    "change", ["text", "order", "vocab_size", "validation_permille", "tokenizer_characters"]
)
def test_any_change_gives_another_dataset(corpus: Path, tmp_path: Path, change: str) -> None:
    spec, vocab_size = data_spec(corpus), VOCAB_SIZE
    before = prepare(spec, vocab_size, tmp_path / "data", silent)
    if change == "text":
        (corpus / "0007.txt").write_text("other text")
    elif change == "order":
        (corpus / "0007.txt").rename(corpus / "9999.txt")
    elif change == "vocab_size":
        vocab_size += 1
    elif change == "validation_permille":
        spec = DataSpec(str(corpus), 201)
    else:
        spec = DataSpec(str(corpus), 200, 10_000)
    after = prepare(spec, vocab_size, tmp_path / "data", silent)
    assert after.id != before.id
    assert before.dir.is_dir()


def test_known_corpus_is_not_even_read(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    monkeypatch.setattr(Corpus, "digest", refuse_to_read)
    monkeypatch.setattr(Corpus, "documents", refuse_to_read)
    assert prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent).id == first.id


def test_touched_corpus_is_read_but_not_tokenized_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    os.utime(corpus / "0003.txt")
    monkeypatch.setattr(Corpus, "documents", refuse_to_read)
    assert prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent).id == first.id


def test_corpus_written_a_moment_ago_is_not_trusted_by_its_times(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    monkeypatch.setattr(Corpus, "digest", refuse_to_read)
    with pytest.raises(AssertionError, match="was read"):
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)


@pytest.mark.parametrize("victim", ["train-00000.tokens", "validation.index", "manifest.json"])
def test_damaged_dataset_is_made_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    settle(monkeypatch)
    first = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    before = contents(first)
    (first.dir / victim).write_bytes(b"?")
    again = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert contents(again) == before
    assert temporary(tmp_path / "data") == []


def test_note_that_nobody_can_read_is_ignored(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    (note,) = (tmp_path / "data" / "known").iterdir()
    for garbage in ("", "[]", "{}", '{"fingerprint": 1, "dataset": "../x"}'):
        note.write_text(garbage)
        assert prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent).id == first.id


def test_progress_rises_to_one_and_says_what_is_done(corpus: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    prepare(
        data_spec(corpus),
        VOCAB_SIZE,
        tmp_path / "data",
        lambda detail, fraction: told.append((detail, fraction)),
    )
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    details = " ".join(detail for detail, _ in told)
    for part in ("reading 40 files", "training the tokenizer", "tokenizing", "data prepared"):
        assert part in details


@pytest.mark.parametrize("when", ["reading", "training the tokenizer", "tokenizing"])
def test_abort_leaves_nothing_half_made_and_the_next_one_succeeds(
    prepared: Dataset, corpus: Path, tmp_path: Path, when: str
) -> None:
    def progress(detail: str, fraction: float) -> None:
        if detail.startswith(when):
            raise AbortError

    with pytest.raises(AbortError):
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", progress)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lock"]
    again = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert contents(again) == contents(prepared)


KILLED = """
import os, signal, sys, psutil
from pathlib import Path
from trainer.contract.spec import DataSpec
from trainer.data import prepare, watch

# reports come so quickly that one falls into the training of the tokenizer on any machine
watch.EVERY_SECONDS = 0.002

def progress(detail, fraction):
    children = psutil.Process().children()
    if detail.startswith("training") and children:
        print(children[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

prepare(DataSpec(sys.argv[1], 200), 300, Path(sys.argv[2]), progress)
"""


def test_killed_preparation_leaves_no_process_and_its_rubbish_is_removed_by_the_next(
    prepared: Dataset, tmp_path: Path
) -> None:
    # long enough that the tokenizer is still being trained when a report is due
    long = "".join(texts(300)) * 5
    many = write_corpus(tmp_path / "many", [f"{long}{number}" for number in range(12)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(many), str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -9
    assert len(temporary(tmp_path / "data")) == 1
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in map(int, killed.stdout.split()) if psutil.pid_exists(pid)],
        timeout=10,
    )
    assert alive == []
    corpus = write_corpus(tmp_path / "corpus", texts())
    again = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert temporary(tmp_path / "data") == []
    assert contents(again) == contents(prepared)


def test_rubbish_is_removed_even_when_the_dataset_is_known(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    (tmp_path / "data" / "tmp-1-new").mkdir()
    with Storage(tmp_path / "data").locked(Watch(silent, SystemClock())):
        (tmp_path / "data" / "tmp-2-new").mkdir()
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
        assert temporary(tmp_path / "data") == ["tmp-2-new"], "somebody is at work there"
    prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert temporary(tmp_path / "data") == []


def test_second_preparation_waits_for_the_first_and_says_for_whom(
    corpus: Path, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    first = Storage(data_dir).locked(Watch(silent, SystemClock()))
    first.__enter__()
    (data_dir / "tmp-first").mkdir()
    told: list[tuple[str, float]] = []

    def progress(detail: str, fraction: float) -> None:
        told.append((detail, fraction))
        if len(told) == 3:
            assert temporary(data_dir) == ["tmp-first"]
            (data_dir / "tmp-first").rename(data_dir / "first")
            first.__exit__(None, None, None)

    prepare(data_spec(corpus), VOCAB_SIZE, data_dir, progress, clock=SteppingClock())
    waiting = (f"waiting for process {os.getpid()}, which prepares data here too", -1.0)
    assert told[:3] == [waiting] * 3
    assert (data_dir / "first").is_dir()


def test_waiting_preparation_can_be_aborted(corpus: Path, tmp_path: Path) -> None:
    storage = Storage(tmp_path)

    def progress(detail: str, fraction: float) -> None:
        raise AbortError

    with storage.locked(Watch(silent, SystemClock())), pytest.raises(AbortError):
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path, progress)


def test_corpus_that_changes_meanwhile_is_refused(corpus: Path, tmp_path: Path) -> None:
    def progress(detail: str, fraction: float) -> None:
        if detail.startswith("tokenizing"):
            (corpus / "9999.txt").write_text("one more")

    with pytest.raises(DataError, match="changed while it was being prepared"):
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", progress)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lock"]


def test_corpus_without_validation_documents_says_what_would_work(tmp_path: Path) -> None:
    documents = [text for text in texts() if place_of(text) >= 100]
    corpus = write_corpus(tmp_path / "corpus", documents)
    lowest = min(map(place_of, documents))
    with pytest.raises(DataError, match="falls into the validation split") as refused:
        prepare(data_spec(corpus, 50), VOCAB_SIZE, tmp_path / "data", silent)
    assert f"data.validation_permille to {lowest + 1} or more" in refused.value.fix
    works = prepare(data_spec(corpus, lowest + 1), VOCAB_SIZE, tmp_path / "data", silent)
    assert len(works.validation) >= 1


def test_corpus_of_validation_documents_only_is_refused(tmp_path: Path) -> None:
    documents = [text for text in texts() if place_of(text) < 500]
    corpus = write_corpus(tmp_path / "corpus", documents)
    with pytest.raises(DataError, match="too small"):
        prepare(data_spec(corpus, 500), VOCAB_SIZE, tmp_path / "data", silent)


def test_empty_documents_are_no_documents(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", ["", *texts(), ""])
    dataset = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert len(dataset.train) + len(dataset.validation) == len(texts())
    nothing = write_corpus(tmp_path / "nothing", ["", ""])
    with pytest.raises(DataError, match="too small"):
        prepare(data_spec(nothing), VOCAB_SIZE, tmp_path / "data", silent)


def test_bad_corpus_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such directory"):
        prepare(data_spec(tmp_path / "none"), VOCAB_SIZE, tmp_path / "data", silent)
    assert not (tmp_path / "data").exists()


def test_bad_line_is_told_from_within_the_preparation(corpus: Path, tmp_path: Path) -> None:
    (corpus / "x.jsonl").write_text('{"text": "fine"}\n{"txt": "wrong"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl:2: has no text"):
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert temporary(tmp_path / "data") == []


def test_data_directory_that_cannot_be_made_is_named(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file/data: cannot be written"):
        prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "file" / "data", silent)


def test_full_disk_is_told_and_leaves_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(HashedFile, "write", full)
        with pytest.raises(DataError, match=r"No space left.*free space"):
            prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["lock"]
    prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)


def test_dataset_can_be_thrown_away_and_comes_back(
    prepared: Dataset, corpus: Path, tmp_path: Path
) -> None:
    dataset = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    shutil.rmtree(dataset.dir)
    again = prepare(data_spec(corpus), VOCAB_SIZE, tmp_path / "data", silent)
    assert contents(again) == contents(prepared)


def test_large_vocabulary_takes_four_bytes_a_token() -> None:
    assert token_dtype(65_536).itemsize == 2
    assert token_dtype(65_537).itemsize == 4


def test_groups_keep_the_order_and_bound_what_is_in_memory() -> None:
    sizes = [10, 0, GROUP_CHARACTERS * 3, 5, *[1] * (GROUP_DOCUMENTS + 1)]
    made = list(groups(Document("x" * size, 0) for size in sizes))
    assert [len(document.text) for group in made for document in group] == [
        size for size in sizes if size
    ]
    assert all(len(group) <= GROUP_DOCUMENTS for group in made)
    assert all(
        sum(len(document.text) for document in group[:-1]) < GROUP_CHARACTERS for group in made
    )
