"""Vocabularies that no training makes, where two BPEs part ways most easily."""

from __future__ import annotations

import itertools
import json

import pytest
from tokenizers import Tokenizer as Theirs

from trainer.data.tokenizer import Tokenizer
from trainer.hf_tokenizer import tokenizer_config, tokenizer_json

BYTES = [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize(
    "longer",
    [
        [b"abc"],
        [b"bc", b"abc", b"ab"],
        [b"abc", b"bc", b"cab", b"ab", b"ca"],
        [b"aa", b"aaaa", b"aab", b"baa", b"aabaa"],
    ],
    ids=lambda tokens: b"-".join(tokens).decode(),
)
def test_every_short_word_is_cut_like_ours(longer: list[bytes]) -> None:
    ours = Tokenizer.of([*BYTES, *longer])
    theirs = Theirs.from_str(json.dumps(tokenizer_json(ours)))
    for length in range(1, 8):
        for letters in itertools.product("abc", repeat=length):
            word = "".join(letters)
            assert theirs.encode(word, add_special_tokens=False).ids == ours.encode(word), word


def test_each_byte_has_a_letter_of_its_own() -> None:
    vocabulary = tokenizer_json(Tokenizer.of(BYTES))["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(256))
    assert vocabulary["A"] == 65
    assert vocabulary["\u0120"] == 32  # the blank, as in GPT-2's files


def test_a_pair_of_texts_is_two_documents() -> None:
    ours = Tokenizer.of(BYTES)
    theirs = Theirs.from_str(json.dumps(tokenizer_json(ours)))
    assert theirs.encode("a", "b").ids == [ours.bos, 97, ours.bos, 98]


def test_the_context_is_told() -> None:
    assert tokenizer_config(2048)["model_max_length"] == 2048
