"""Small corpora with enough different words for a tokenizer of 300 tokens."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from trainer.contract.spec import DataSpec
from trainer.data import Dataset, prepare

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

VOCAB_SIZE = 300


def texts(count: int = 40, seed: int = 0) -> list[str]:
    """Made-up prose, the same every time."""
    chance = random.Random(seed)
    syllables = ["ka", "to", "mi", "ren", "sul", "ba", "dor", "ni", "vel", "qu", "ä", "日"]
    words = ["".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(200)]
    return [
        " ".join(chance.choices(words, k=chance.randint(5, 60))) + f".\n{number}\n"
        for number in range(count)
    ]


def write_corpus(directory: Path, documents: list[str]) -> Path:
    """One .txt a document, in the order of the list."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(documents):
        (directory / f"{number:04d}.txt").write_text(text, encoding="utf-8")
    return directory


def data_spec(corpus: Path, validation_permille: int = 200) -> DataSpec:
    return DataSpec(str(corpus), validation_permille)


def silent(detail: str, fraction: float) -> None:
    """Progress that nobody reads."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", texts())


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset that no test may change."""
    home = tmp_path_factory.mktemp("prepared")
    corpus = write_corpus(home / "corpus", texts())
    return prepare(data_spec(corpus), VOCAB_SIZE, home / "data", silent, threads=1)


@pytest.fixture
def copy_of_prepared(prepared: Dataset, tmp_path: Path) -> Callable[[], Path]:
    """A data directory with a copy of the prepared dataset, to be damaged."""

    def copy() -> Path:
        target = tmp_path / "data" / prepared.id
        target.mkdir(parents=True)
        for file in prepared.dir.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        return tmp_path / "data"

    return copy
