"""Data: a corpus of text becomes numbered micro-batches of tokens.

corpus       which files, in which order; formats reads each kind
tokenizer    byte-level BPE; bpe trains it
encoding     documents to tokens; places: which are for validation
preparation  corpus to dataset, once; storage is the directory of all of them
dataset      a prepared corpus, opened and checked; shards are its files
loader       which tokens the n-th micro-batch has
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.data.dataset import Dataset, open_dataset, verify_shards
from trainer.data.errors import DataError
from trainer.data.preparation import prepare
from trainer.data.shards import Documents
from trainer.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from trainer.data.loader import Loader, validation_batches

__all__ = [
    "DataError",
    "Dataset",
    "Documents",
    "Loader",
    "Tokenizer",
    "open_dataset",
    "prepare",
    "validation_batches",
    "verify_shards",
]


def __getattr__(name: str) -> Any:
    """The loader needs PyTorch, whose import takes seconds; whoever prepares data does not."""
    if name in ("Loader", "validation_batches"):
        from trainer.data import loader

        return getattr(loader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
