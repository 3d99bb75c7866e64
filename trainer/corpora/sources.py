"""Sources: the corpora that homerun knows how to fetch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from trainer.contract import toml
from trainer.data.errors import DataError


@dataclass(frozen=True)
class Source:
    """A dataset on the hub: shards of texts in parquet files, the last one for validation."""

    name: str
    #: on the Hugging Face Hub
    repository: str
    #: what its shards are called
    shard: re.Pattern[str]
    #: about how much text a byte of a file holds, in bytes
    text_bytes_per_byte: float

    def shards(self, paths: Iterable[str]) -> list[str]:
        """Those of a repository's files that are shards, in order."""
        return sorted(path for path in paths if self.shard.fullmatch(path))


#: FineWeb-Edu, shuffled: 1,823 shards of about 250 million characters in 100 MB
#: (karpathy/nanochat at 3a5e0bc fetches the same files)
FINEWEB_EDU = Source(
    "fineweb-edu", "karpathy/fineweb-edu-100b-shuffle", re.compile(r"shard_\d{5}\.parquet"), 2.5
)
SOURCES = {source.name: source for source in (FINEWEB_EDU,)}


def source_named(name: str) -> Source:
    """The source of that name; raises DataError with the nearest there is."""
    if name not in SOURCES:
        hint = toml.nearest(name, SOURCES) or f"there is {', '.join(SOURCES)}"
        raise DataError(f"no corpus {name!r} to fetch", hint)
    return SOURCES[name]
