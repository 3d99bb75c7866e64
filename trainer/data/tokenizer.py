"""Tokenizer: byte-level BPE, nanochat's split pattern and nine special tokens."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from numpy.typing import NDArray

from trainer.data.errors import DataError

FILE_NAME = "tokenizer.json"
FORMAT = "homerun-bpe-1"

#: GPT-4's pattern with at most two digits together, as nanochat has it
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}|"
    r" ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
BOS = "<|bos|>"
#: nanochat's, in its order; they take the highest ids
SPECIAL_TOKENS = (
    BOS,
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)

#: longer texts are split in pieces: the regex engines of tiktoken and rustbpe give up on runs
#: of about a million blanks
PIECE_CHARACTERS = 1 << 17


class Tokenizer:
    """Text to token ids and back. Special tokens in a text are ordinary text."""

    def __init__(self, ranks: dict[bytes, int], pattern: str, special: dict[str, int]) -> None:
        self.ranks = ranks
        self.pattern = pattern
        self.special = special
        self.bos = special[BOS]
        self.vocab_size = len(ranks) + len(special)
        self._encoding = tiktoken.Encoding(
            "homerun", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special
        )

    @classmethod
    def of(cls, tokens: Sequence[bytes]) -> Tokenizer:
        """The tokenizer with these tokens in order of rank, and nanochat's special ones above."""
        special = {text: len(tokens) + place for place, text in enumerate(SPECIAL_TOKENS)}
        return cls({token: rank for rank, token in enumerate(tokens)}, PATTERN, special)

    def encode(self, text: str) -> list[int]:
        """Token ids of the text, without <|bos|>."""
        return [token for piece in pieces(text) for token in self._encoding.encode_ordinary(piece)]

    def encode_array(self, text: str) -> NDArray[np.uint32]:
        """As ``encode``, for texts without lone surrogates; releases the interpreter lock."""
        if len(text) <= PIECE_CHARACTERS:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        parts = [
            self._encoding.encode_to_numpy(piece, disallowed_special=()) for piece in pieces(text)
        ]
        return np.concatenate(parts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the tokens; bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        return self.decode_bytes(ids).decode(errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of the tokens, which need not be whole characters.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        wrong = [token for token in ids if not 0 <= token < self.vocab_size]
        if wrong:
            raise ValueError(f"no token has the id {wrong[0]}: there are {self.vocab_size}")
        return self._encoding.decode_bytes(list(ids))

    def token_bytes(self) -> NDArray[np.int64]:
        """[V] bytes of text that each token stands for; 0 for special tokens."""
        lengths = np.zeros(self.vocab_size, np.int64)
        for token, rank in self.ranks.items():
            lengths[rank] = len(token)
        return lengths

    def to_json(self) -> str:
        """The tokenizer as a text of JSON; the same tokenizer gives the same text."""
        by_rank = sorted(self.ranks, key=self.ranks.__getitem__)
        plain = {
            "format": FORMAT,
            "pattern": self.pattern,
            "special": self.special,
            "tokens": [base64.b64encode(token).decode() for token in by_rank],
        }
        return json.dumps(plain, indent=0) + "\n"

    def save(self, directory: Path) -> None:
        """Write ``directory/tokenizer.json``."""
        (directory / FILE_NAME).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Tokenizer:
        """Read what ``save`` wrote; raises DataError when it is missing or damaged."""
        path = directory / FILE_NAME
        fix = "prepare the data anew, or restore the file"
        try:
            return _from_json(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}", fix) from None
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise DataError(f"{path}: is no tokenizer of ours: {error}", fix) from None


def _from_json(plain: Any) -> Tokenizer:
    if plain["format"] != FORMAT:
        raise ValueError(f"its format is {plain['format']!r}, not {FORMAT!r}")
    tokens = [base64.b64decode(token, validate=True) for token in plain["tokens"]]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    special = {str(text): int(token) for text, token in plain["special"].items()}
    expected = list(range(len(tokens), len(tokens) + len(special)))
    if len(ranks) != len(tokens) or sorted(special.values()) != expected:
        raise ValueError("its tokens are not numbered without gaps")
    if not {bytes([byte]) for byte in range(256)} <= ranks.keys():
        raise ValueError("some bytes have no token")
    return Tokenizer(ranks, str(plain["pattern"]), special)


def pieces(text: str, limit: int = PIECE_CHARACTERS) -> Iterator[str]:
    """The text in pieces of at most ``limit`` characters, which together are the text.

    A piece ends after a line break before a character that is no blank, where the pattern
    always splits: the tokens of the pieces are the tokens of the text. Only a text without
    such a place within ``limit`` characters is cut somewhere else.
    """
    start = 0
    while len(text) - start > limit:
        end = _last_border(text, start, start + limit)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _last_border(text: str, start: int, end: int) -> int:
    found = end
    while (found := text.rfind("\n", start, found)) >= 0:
        if not text[found + 1].isspace():
            return found + 1
    return end
