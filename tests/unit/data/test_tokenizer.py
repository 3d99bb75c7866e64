"""The tokenizer: lossless, the same every time, and never fooled by a text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.data.conftest import texts
from trainer.clock import SystemClock
from trainer.data.bpe import Training
from trainer.data.errors import DataError
from trainer.data.tokenizer import BOS, PIECE_CHARACTERS, SPECIAL_TOKENS, Tokenizer, pieces
from trainer.data.watch import Watch

BYTES = Tokenizer.of([bytes([byte]) for byte in range(256)])


def watch() -> Watch:
    return Watch(lambda detail, fraction: None, SystemClock())


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return Training(texts(), 400, 100_000).run(watch(), lambda taken: None)


@given(st.text())
@example("it's 1234 <|bos|> \r\n\n x\t\u3000 日本")
def test_every_text_comes_back(trained: Tokenizer, text: str) -> None:
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert trained.encode_array(text).tolist() == ids
    assert sum(trained.token_bytes()[ids]) == len(text.encode())


def test_vocabulary_has_the_size_that_was_asked_for(trained: Tokenizer) -> None:
    assert trained.vocab_size == 400
    assert len(trained.ranks) == 391
    assert trained.special == {text: 391 + n for n, text in enumerate(SPECIAL_TOKENS)}
    assert trained.bos == 391
    assert len(SPECIAL_TOKENS) == 9


def test_frequent_words_become_few_tokens(trained: Tokenizer) -> None:
    text = texts()[0]
    assert len(trained.encode(text)) < len(text.encode()) / 2


def test_digits_go_two_by_two(trained: Tokenizer) -> None:
    many = Training(["123456 " * 500 + texts()[0]], 280, 10_000).run(watch(), lambda taken: None)
    assert max(len(token) for token in many.ranks if token.isdigit()) == 2


def test_special_token_in_a_text_is_ordinary_text(trained: Tokenizer) -> None:
    ids = trained.encode(f"a{BOS}b")
    assert trained.bos not in ids
    assert trained.decode(ids) == f"a{BOS}b"
    assert trained.decode([trained.bos]) == BOS


def test_special_tokens_stand_for_no_bytes(trained: Tokenizer) -> None:
    lengths = trained.token_bytes()
    assert lengths.dtype == np.int64
    assert lengths.shape == (400,)
    assert lengths[391:].tolist() == [0] * 9
    assert lengths[:391].min() == 1


@pytest.mark.parametrize("wrong", [-1, 400, 1 << 40])
def test_id_outside_the_vocabulary_is_refused(trained: Tokenizer, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"no token has the id {wrong}"):
        trained.decode([0, wrong])


def test_half_a_character_decodes_to_a_replacement() -> None:
    assert BYTES.decode([0xE6, 0x97]) == "\ufffd"


def test_lone_surrogate_is_encoded_as_a_replacement() -> None:
    assert BYTES.decode(BYTES.encode("x\ud800y")) == "x\ufffdy"


def test_saved_tokenizer_is_the_same_and_its_file_is_json(
    trained: Tokenizer, tmp_path: Path
) -> None:
    trained.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert (again.ranks, again.pattern, again.special) == (
        trained.ranks,
        trained.pattern,
        trained.special,
    )
    assert again.to_json() == (tmp_path / "tokenizer.json").read_text()
    assert json.loads(again.to_json())["format"] == "homerun-bpe-1"


def damaged(change: str) -> Any:
    plain = json.loads(BYTES.to_json())
    if change == "format":
        plain["format"] = "other"
    elif change == "byte missing":
        del plain["tokens"][5]
    elif change == "token twice":
        plain["tokens"][5] = plain["tokens"][4]
    elif change == "no base64":
        plain["tokens"][5] = "*"
    elif change == "gap":
        plain["special"][BOS] = 999
    elif change == "no special":
        del plain["special"]
    else:
        plain = []
    return plain


@pytest.mark.parametrize(
    "change",
    ["format", "byte missing", "token twice", "no base64", "gap", "no special", "list"],
)
def test_damaged_file_is_refused_by_name(tmp_path: Path, change: str) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(damaged(change)))
    with pytest.raises(DataError, match=r"tokenizer\.json: is no tokenizer of ours"):
        Tokenizer.load(tmp_path)


def test_missing_or_cut_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tokenizer\.json: cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(BYTES.to_json()[:-50])
    with pytest.raises(DataError, match=r"tokenizer\.json: is no tokenizer"):
        Tokenizer.load(tmp_path)


@given(st.text(alphabet="ab1.\n \t\r", max_size=60), st.integers(8, 20))
def test_pieces_are_the_text_and_give_its_tokens(trained: Tokenizer, text: str, limit: int) -> None:
    parts = list(pieces(text, limit))
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts)
    if all(
        part[-1] == "\n" and not after[0].isspace() for part, after in itertools.pairwise(parts)
    ):
        whole = whole_encoding(trained).encode_ordinary(text)
        assert [token for part in parts for token in trained.encode(part)] == whole


def test_piece_ends_before_a_word_and_never_within_blanks_while_it_can() -> None:
    assert list(pieces("ab\ncd\n  ef", 7)) == ["ab\n", "cd\n  ef"]
    assert list(pieces("ab\n\ncd", 5)) == ["ab\n\n", "cd"]
    assert list(pieces("abcdef", 4)) == ["abcd", "ef"]
    assert list(pieces("", 4)) == []


def whole_encoding(of: Tokenizer) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "whole", pat_str=of.pattern, mergeable_ranks=of.ranks, special_tokens=of.special
    )


@pytest.mark.parametrize("run", [" ", "\n", "\t ", "a", "=", "\u3000", "日"])
def test_run_of_a_million_equal_characters_is_no_trouble(run: str) -> None:
    text = (run * 1_200_000)[:1_200_000]
    assert BYTES.decode(BYTES.encode_array(text).tolist()) == text


def test_long_document_has_the_tokens_that_it_has_in_one_piece(trained: Tokenizer) -> None:
    text = "".join(texts(400))
    text *= 3 * PIECE_CHARACTERS // len(text) + 1
    assert len(list(pieces(text))) > 1
    assert trained.encode(text) == whole_encoding(trained).encode_ordinary(text)


def test_training_is_the_same_in_every_process_and_with_any_number_of_threads(
    trained: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threads in ("1", "3"):
        monkeypatch.setenv("RAYON_NUM_THREADS", threads)
        again = Training(texts(), 400, 100_000).run(watch(), lambda taken: None)
        assert again.to_json() == trained.to_json()


def test_training_looks_at_so_many_characters_and_no_more() -> None:
    def endless() -> Any:
        while True:
            yield from texts()

    training = Training(endless(), 300, 12_345)
    training.run(watch(), lambda taken: None)
    assert training.taken == 12_345


def test_too_little_text_says_how_many_tokens_it_gives() -> None:
    with pytest.raises(DataError, match=r"too small for 600 tokens.*set model\.vocab_size to 267"):
        Training(["ab ab"], 600, 100).run(watch(), lambda taken: None)


def test_error_in_the_texts_comes_through() -> None:
    def broken() -> Any:
        yield "fine"
        raise DataError("a.txt:3: broken", "mend it")

    with pytest.raises(DataError, match=r"a\.txt:3: broken; mend it"):
        Training(broken(), 300, 100).run(watch(), lambda taken: None)


def test_death_of_the_learning_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr("trainer.data.bpe.CHILD", dying)
    with pytest.raises(DataError, match=r"died \(killed by signal 9\)"):
        Training(texts(), 300, 10_000).run(watch(), lambda taken: None)
