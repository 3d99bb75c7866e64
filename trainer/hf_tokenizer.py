"""Our tokenizer in the file format of the ``tokenizers`` package, written by hand.

Its BPE counts merges of two named tokens where ours counts the text they make together. Listing
every way to split a token, in order of the tokens' ranks, makes both do the same merges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.data.tokenizer import BOS, Tokenizer


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The contents of tokenizer.json. Encoding with special tokens puts <|bos|> first."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(text, token) for text, token in tokenizer.special.items()],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(tokenizer.pattern),
        "post_processor": _bos_first(tokenizer.bos),
        "decoder": _byte_level(),
        "model": _bpe(tokenizer.ranks),
    }


def tokenizer_config(context_tokens: int) -> dict[str, Any]:
    """The contents of tokenizer_config.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        # a document ends where the next one begins
        "eos_token": BOS,
        "pad_token": BOS,
        "model_max_length": context_tokens,
        "clean_up_tokenization_spaces": False,
    }


def _added(text: str, token: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": text, **flags, "special": True}


def _pre_tokenizer(pattern: str) -> dict[str, Any]:
    split = {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    return {"type": "Sequence", "pretokenizers": [split, _byte_level()]}


def _byte_level() -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }


def _bos_first(bos: int) -> dict[str, Any]:
    bos_piece = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first = {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [bos_piece, first],
        "pair": [bos_piece, first, bos_piece, second],
        "special_tokens": {BOS: {"id": BOS, "ids": [bos], "tokens": [BOS]}},
    }


def _bpe(ranks: dict[bytes, int]) -> dict[str, Any]:
    letters = _byte_letters()
    by_rank = sorted(ranks, key=ranks.__getitem__)

    def spell(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        # a piece that is a token is that token, whatever the merges would make of it
        "ignore_merges": True,
        "vocab": {spell(token): ranks[token] for token in by_rank},
        "merges": [
            [spell(left), spell(right)]
            for token in by_rank
            for left, right in _splits(token)
            if left in ranks and right in ranks
        ],
    }


def _splits(token: bytes) -> Iterator[tuple[bytes, bytes]]:
    for place in range(1, len(token)):
        yield token[:place], token[place:]


def _byte_letters() -> list[str]:
    """GPT-2's alphabet: a visible letter for every byte, its own where Latin-1 has one."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, next_free = [], 0x100
    for byte in range(0x100):
        if byte in visible:
            letters.append(chr(byte))
        else:
            letters.append(chr(next_free))
            next_free += 1
    return letters
