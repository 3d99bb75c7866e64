"""A hub with four shards in the layout of FineWeb-Edu, and no other network."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from tests.unit.corpora.hub_double import HubDouble, serving
from tests.unit.loop.support import HandClock
from trainer.corpora.fetch import Fetched, fetch
from trainer.corpora.hub import HuggingFaceHub
from trainer.corpora.sources import FINEWEB_EDU

#: of FineWeb-Edu's own files: rows in a group
ROWS = 1024
SHARDS = 4


def shard(seed: int, rows: int = 60) -> bytes:
    """A parquet file with one column ``text``, in row groups, as the dataset has them."""
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghij", k=dice.randint(2, 8))) for _ in range(150)]
    texts = [" ".join(dice.choices(words, k=dice.randint(20, 80))) for _ in range(rows)]
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": texts}), out, row_group_size=ROWS)
    return out.getvalue()


@pytest.fixture(scope="session")
def shards() -> dict[str, bytes]:
    named = {f"shard_{number:05d}.parquet": shard(number) for number in range(SHARDS)}
    return {**named, "README.md": b"# a data set"}


@pytest.fixture
def hub(shards: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDouble]:
    import huggingface_hub.constants

    # other rooms forbid the network in their whole process; this hub is none
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(dict(shards)) as double:
        yield double
    huggingface_hub.close_session()


class Told:
    """What a fetch said, and how far it was."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.parts: list[float] = []

    def say(self, text: str) -> None:
        self.words.append(text)

    def progress(self, what: str, fraction: float) -> None:
        self.parts.append(fraction)


Fetch = Callable[..., Fetched]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def get(hub: HubDouble, tmp_path: Path, told: Told) -> Fetch:
    """``get(2)`` fetches two shards into ``tmp_path / "corpus"``, and waits for nobody."""

    def call(shards: int, directory: Path | None = None) -> Fetched:
        return fetch(
            FINEWEB_EDU,
            shards,
            directory or tmp_path / "corpus",
            HuggingFaceHub("0", hub.url),
            HandClock(),
            told.progress,
            told.say,
        )

    return call
