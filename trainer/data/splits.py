"""Splits: which documents are for training and which for validation, while they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.data.dataset import SPLITS, Manifest
from trainer.data.encoding import Encoded
from trainer.data.errors import DataError
from trainer.data.shards import FileFacts, SplitWriter


class Splits:
    """Both splits while they are written."""

    def __init__(self, directory: Path, validation_permille: int, *, says_itself: bool) -> None:
        """``says_itself``: the corpus names its validation documents, no hash decides."""
        self._permille = validation_permille
        self._says_itself = says_itself
        self._writers = {split: SplitWriter(directory, split) for split in SPLITS}
        #: the lowest and the highest place of any document
        self._lowest, self._highest = 1000, -1

    @property
    def documents(self) -> int:
        """Documents of both splits so far."""
        return sum(writer.documents for writer in self._writers.values())

    @property
    def tokens(self) -> int:
        """Tokens of both splits so far."""
        return sum(writer.tokens for writer in self._writers.values())

    def add(self, encoded: Encoded) -> None:
        """Append a group of documents, each to its split."""
        self._lowest = min(self._lowest, encoded.lowest)
        self._highest = max(self._highest, encoded.highest)
        for split, lengths, tokens in zip(SPLITS, encoded.lengths, encoded.tokens, strict=True):
            self._writers[split].add(lengths, tokens)

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
