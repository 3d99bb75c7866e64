"""What the files of a corpus will give, guessed before anything is tokenized."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.planning.corpus_size import measure


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_only_what_is_trained_on_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", 4800)
    write(tmp_path / "deep" / "validation" / "b.TXT", 4800)
    write(tmp_path / "validation" / "c.txt", 99_999)
    write(tmp_path / ".fetch" / "d.parquet", 99_999)
    write(tmp_path / ".hidden.txt", 99_999)
    write(tmp_path / "notes.md", 99_999)
    found = measure(tmp_path)
    assert (found.files, found.size_bytes) == (2, 9600)
    assert found.tokens == pytest.approx(2000)


def test_a_shard_of_parquet_holds_more_text_than_bytes(tmp_path: Path) -> None:
    write(tmp_path / "shard_00000.parquet", 100_000)
    found = measure(tmp_path)
    assert found.tokens == pytest.approx(250_000 / 4.8)
    assert found.files_missing(int(found.tokens * 9)) == 8
    assert found.files_missing(1) == 0


def test_what_is_not_there_gives_nothing(tmp_path: Path) -> None:
    found = measure(tmp_path / "none")
    assert (found.files, found.tokens, found.files_missing(1000)) == (0, 0.0, 0)
