"""How much text a run reads, and whether there is enough of it. Pure.

The corpus is FineWeb-Edu as nanochat takes it (karpathy/fineweb-edu-100b-shuffle): 1,823 shards
of about 250 million characters, the last one for validation; nanochat's tokenizer makes a token
of about 4.8 characters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CORPUS_SHARDS = 1_822
SHARD_CHARACTERS = 250e6
#: as they are downloaded, compressed
SHARD_BYTES = 100e6
CHARACTERS_PER_TOKEN = 4.8


@dataclass(frozen=True)
class Data:
    """What a run of so many tokens reads."""

    #: shards for one pass without repetition
    shards_needed: int
    #: shards that there are
    shards: int
    #: of the shards that are needed
    download_bytes: float
    #: how often the corpus is read; above 1 it repeats
    epochs: float

    @property
    def shards_missing(self) -> int:
        """How many more are needed so that nothing is read twice."""
        return max(0, self.shards_needed - self.shards)


def data_for(tokens: int, shards: int = CORPUS_SHARDS) -> Data:
    """The data of a run over ``tokens`` when so many shards are at hand.

    Raises:
        ValueError: there is no shard at all.
    """
    if shards < 1:
        raise ValueError("at least one shard is needed")
    needed = tokens / tokens_in(1)
    return Data(
        shards_needed=math.ceil(needed),
        shards=shards,
        download_bytes=math.ceil(needed) * SHARD_BYTES,
        epochs=needed / shards,
    )


def tokens_in(shards: int) -> float:
    """Tokens in so many shards."""
    return shards * SHARD_CHARACTERS / CHARACTERS_PER_TOKEN
