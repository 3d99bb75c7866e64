"""How many tokens the files of a corpus will give, guessed from their sizes. No tokenizer needed.

The trainer knows it exactly once it has prepared the corpus, and refuses a run that would read
it twice; this says so while the person is still there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.planning.estimate_data import CHARACTERS_PER_TOKEN, SHARD_BYTES, SHARD_CHARACTERS

#: what a byte of a file holds of text, in bytes
_TEXT = {".txt": 1.0, ".jsonl": 0.97, ".parquet": SHARD_CHARACTERS / SHARD_BYTES}
#: files below it are not trained on
_VALIDATION = "validation"


@dataclass(frozen=True)
class CorpusSize:
    """The files that a run would be trained on."""

    files: int
    size_bytes: int
    #: a guess, good to about a third
    tokens: float

    def files_missing(self, wanted_tokens: int) -> int:
        """How many more files like these would be enough."""
        if not self.tokens:
            return 0
        return max(0, -int(-self.files * wanted_tokens // self.tokens) - self.files)


def measure(corpus: Path) -> CorpusSize:
    """Add up the files that the trainer would read; what cannot be looked at counts nothing."""
    files, size_bytes, text_bytes = 0, 0, 0.0
    for directory, subdirectories, names in os.walk(corpus):
        hidden = {name for name in subdirectories if name.startswith(".")}
        own = {_VALIDATION} if Path(directory) == corpus else set()
        subdirectories[:] = [name for name in subdirectories if name not in hidden | own]
        for name in names:
            share = _TEXT.get(Path(name).suffix.lower())
            if share is None or name.startswith("."):
                continue
            try:
                found = Path(directory, name).stat().st_size
            except OSError:
                continue
            files, size_bytes, text_bytes = (
                files + 1,
                size_bytes + found,
                text_bytes + share * found,
            )
    return CorpusSize(files, size_bytes, text_bytes / CHARACTERS_PER_TOKEN)
