"""Which files make a corpus, in which order, and what is wrong with those that do not."""

from __future__ import annotations

import json
import os
import sysconfig
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from trainer.data.corpus import Corpus, find_corpus
from trainer.data.errors import DataError
from trainer.data.formats import PYTHON_PIECE_CHARACTERS, read_python


def texts_of(directory: Path) -> list[str]:
    return [document.text for document in find_corpus(str(directory)).documents()]


def refusal(directory: Path) -> str:
    with pytest.raises(DataError) as refused:
        texts_of(directory)
    assert refused.value.fix
    assert refused.value.fix in str(refused.value)
    return str(refused.value)


def write_parquet(path: Path, texts: list[str | None], column: str = "text") -> None:
    table = pa.table({"id": list(range(len(texts))), column: pa.array(texts, pa.string())})
    parquet.write_table(table, path, row_group_size=2)


def jsonl(*texts: str) -> str:
    return "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts)


def test_all_three_formats_are_read_recursively_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "b.jsonl").write_text(jsonl("b1", "b2") + "\n\n" + jsonl("b3"))
    write_parquet(tmp_path / "a.parquet", ["a1", "a2", "a3"])
    (tmp_path / "deep" / "er" / "d.TXT").write_text("d\r\n", newline="")
    (tmp_path / "c.txt").write_text("ç")
    (tmp_path / "README.md").write_text("passed over")
    assert texts_of(tmp_path) == ["a1", "a2", "a3", "b1", "b2", "b3", "ç", "d\r\n"]


def test_positions_rise_to_the_size_of_the_corpus(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["a1", "a2", "a3"])
    (tmp_path / "b.jsonl").write_text(jsonl("b1", "b2"))
    (tmp_path / "c.txt").write_text("text")
    corpus = find_corpus(str(tmp_path))
    positions = [document.position for document in corpus.documents()]
    assert positions == sorted(set(positions))
    assert positions[-1] == corpus.size_bytes


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.txt").write_text("cached")
    (tmp_path / "._a.txt").write_bytes(b"\xff\x00")
    (tmp_path / "a.txt").write_text("seen")
    assert texts_of(tmp_path) == ["seen"]


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbftext")
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl("line").encode())
    assert texts_of(tmp_path) == ["text", "line"]


def test_half_characters_in_json_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x\\ud83dy \\ud83d\\ude00"}\n')
    assert texts_of(tmp_path) == ["x\ufffdy \U0001f600"]


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "none")


def test_file_instead_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert "is a file, not a directory" in refusal(tmp_path / "a.txt")


def test_empty_directory_is_refused(tmp_path: Path) -> None:
    assert "has no files" in refusal(tmp_path)


def test_directory_with_unknown_files_only_is_refused_and_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(b"x")
    (tmp_path / "b.csv").write_bytes(b"x")
    message = refusal(tmp_path)
    assert "only .csv, .gz" in message
    assert ".txt, .jsonl, .parquet" in message


def test_text_that_is_not_utf8_is_refused_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\nthr\xe9e\n")
    assert f"{tmp_path / 'a.txt'}:3: is not UTF-8 (byte 0xe9)" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"title": "x"}', "has no text"),
        ('{"text": 5}', "has no text"),
        ('{"text": null}', "has no text"),
        ('["text"]', "has no text"),
        ('{"text": "cut o', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\xff", "is not JSON"),
    ],
)
def test_bad_line_of_jsonl_is_refused_by_file_and_line(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(jsonl("fine").encode() + b"\n" + line.encode("latin-1") + b"\n")
    assert f"{file}:3: {why}" in refusal(tmp_path)


def test_truncated_parquet_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    write_parquet(file, ["a", "b"])
    file.write_bytes(file.read_bytes()[:-10])
    assert f"{file}: is damaged or no parquet file" in refusal(tmp_path)


def test_parquet_with_damaged_pages_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    write_parquet(file, [str(number) * 50 for number in range(200)])
    raw = bytearray(file.read_bytes())
    raw[4:2000] = bytes(1996)
    file.write_bytes(raw)
    assert str(file) in refusal(tmp_path)


def test_parquet_without_a_text_column_names_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["a"], column="content")
    assert "has no column 'text' (columns: id, content)" in refusal(tmp_path)


def test_parquet_with_numbers_as_text_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    assert "the column 'text' is int64" in refusal(tmp_path)


def test_parquet_row_without_text_is_refused_by_number(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["a", "b", None])
    assert "row 3: has no text" in refusal(tmp_path)


def test_file_that_vanishes_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    corpus = find_corpus(str(tmp_path))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.txt: cannot be read: No such file"):
        list(corpus.documents())
    with pytest.raises(DataError, match=r"a\.txt: cannot be read: No such file"):
        corpus.digest(lambda done: None)


def test_default_corpus_is_the_standard_library_without_packages() -> None:
    corpus = find_corpus("default")
    names = [file.name for file in corpus.files]
    assert names == sorted(names)
    assert {"os.py", "json/decoder.py", "asyncio/tasks.py"} <= set(names)
    assert all(name.endswith(".py") for name in names)
    assert not any("site-packages" in name or "__pycache__" in name for name in names)
    assert corpus.root == Path(sysconfig.get_path("stdlib"))
    assert next(corpus.documents()).text


def test_source_in_another_encoding_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes(b"# -*- coding: latin-1 -*-\nname = '\xe9'\n")
    assert list(read_python(file)) == []


def test_a_module_comes_in_pieces_cut_at_definitions_and_loses_no_character() -> None:
    file = Path(sysconfig.get_path("stdlib")) / "argparse.py"
    pieces = list(read_python(file))
    assert "".join(piece.text for piece in pieces) == file.read_text(encoding="utf-8")
    assert pieces[-1].position == file.stat().st_size
    assert len(pieces) > 10
    for piece in pieces[1:]:
        assert piece.text.startswith(("def ", "class ", "@", "async def "))
    assert all(len(piece.text) >= PYTHON_PIECE_CHARACTERS for piece in pieces[:-1])


def small(tmp_path: Path) -> Corpus:
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_text("second")
    return find_corpus(str(tmp_path))


def test_digest_follows_contents_and_order_but_not_names(tmp_path: Path) -> None:
    before = small(tmp_path).digest(lambda done: None)
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert find_corpus(str(tmp_path)).digest(lambda done: None) == before
    (tmp_path / "c.txt").rename(tmp_path / "0.txt")
    assert find_corpus(str(tmp_path)).digest(lambda done: None) != before


def test_digest_tells_how_much_was_read(tmp_path: Path) -> None:
    told: list[int] = []
    small(tmp_path).digest(told.append)
    assert told == [5, 11]


@pytest.mark.parametrize("change", ["grow", "touch", "rename", "add"])
def test_fingerprint_follows_every_change(tmp_path: Path, change: str) -> None:
    before = small(tmp_path).fingerprint()
    assert find_corpus(str(tmp_path)).fingerprint() == before
    if change == "grow":
        (tmp_path / "a.txt").write_text("first and more")
    elif change == "touch":
        os.utime(tmp_path / "a.txt", ns=(1, 1))
    elif change == "rename":
        (tmp_path / "a.txt").rename(tmp_path / "aa.txt")
    else:
        (tmp_path / "c.txt").write_text("third")
    assert find_corpus(str(tmp_path)).fingerprint() != before
