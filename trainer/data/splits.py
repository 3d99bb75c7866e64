"""Splits: which documents are for training and which for validation, while they are written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import SPLITS, Manifest
from trainer.data.errors import DataError
from trainer.data.formats import Document
from trainer.data.shards import FileFacts, SplitWriter, token_dtype
from trainer.data.tokenizer import Tokenizer


class Splits:
    """Both splits while they are written."""

    def __init__(self, directory: Path, trained: Tokenizer, validation_permille: int) -> None:
        dtype = token_dtype(trained.vocab_size)
        self._permille = validation_permille
        self._writers = {
            split: SplitWriter(directory, split, dtype, trained.bos) for split in SPLITS
        }
        #: the lowest and the highest place of any document
        self._lowest, self._highest = 1000, -1
        self._says_itself = False

    @property
    def documents(self) -> int:
        """Documents of both splits so far."""
        return sum(writer.documents for writer in self._writers.values())

    @property
    def tokens(self) -> int:
        """Tokens of both splits so far."""
        return sum(writer.tokens for writer in self._writers.values())

    def add(self, group: list[Document], encoded: list[NDArray[np.uint32]]) -> None:
        """Append documents, each to the split that its text decides."""
        for document, tokens in zip(group, encoded, strict=True):
            self._note(document)
            split = "validation" if is_validation(document, self._permille) else "train"
            self._writers[split].add([tokens])

    def close(self, dataset_id: str, settings: dict[str, Any], others: list[FileFacts]) -> Manifest:
        """Make all files durable; raises DataError when a split is empty."""
        self._check_both()
        files = {split: writer.close() for split, writer in self._writers.items()}
        return Manifest(
            dataset_id,
            settings,
            {
                split: {"documents": writer.documents, "tokens": writer.tokens}
                for split, writer in self._writers.items()
            },
            {split: [facts.name for facts in files[split][0]] for split in SPLITS},
            [*others, *(facts for made, index in files.values() for facts in (*made, index))],
        )

    def abandon(self) -> None:
        """Close all files as they are."""
        for writer in self._writers.values():
            writer.abandon()

    def _note(self, document: Document) -> None:
        place = place_of(document.text)
        self._lowest, self._highest = min(self._lowest, place), max(self._highest, place)
        self._says_itself = document.validation is not None

    def _check_both(self) -> None:
        for split, writer in self._writers.items():
            if not writer.documents:
                raise DataError(
                    f"none of the {self.documents} documents falls into the {split} split "
                    f"(data.validation_permille = {self._permille})",
                    self._way_out(split),
                )

    def _way_out(self, split: str) -> str:
        if self._says_itself:
            return "put documents both into its directory validation and beside it"
        if self._lowest >= self._highest:
            return "add documents with other texts; a corpus needs at least two"
        if split == "train":
            return f"set data.validation_permille to {self._highest} or less, or add documents"
        return f"set data.validation_permille to {self._lowest + 1} or more, or add documents"


def is_validation(document: Document, permille: int) -> bool:
    """Whether a document is for validation: as its corpus says, else by the hash of its text."""
    if document.validation is None:
        return place_of(document.text) < permille
    return document.validation


def place_of(text: str) -> int:
    """0..999 by the hash of the text: places below validation_permille are for validation."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 1000
