"""Places: which documents are for validation, by what a corpus says or by the hash of the text."""

from __future__ import annotations

import hashlib

from trainer.data.formats import Document


def is_validation(document: Document, place: int, permille: int) -> bool:
    """Whether a document at this place is for validation."""
    return place < permille if document.validation is None else document.validation


def place_of(text: str) -> int:
    """0..999 by the hash of the text: places below validation_permille are for validation."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 1000
