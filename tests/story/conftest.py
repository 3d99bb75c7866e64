"""Houses that are cleared up whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.story.house import House, digest, spec_text, write_corpus

MakeHouse = Callable[..., House]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house with the local engine."""
    built = House(tmp_path / "house")
    yield built
    built.close()


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
    """Build houses with options."""
    houses: list[House] = []

    def build(name: str = "house", **options: object) -> House:
        houses.append(House(tmp_path / name, **options))  # type: ignore[arg-type] # passed through
        return houses[-1]

    yield build
    for house in houses:
        house.close()


Undisturbed = Callable[..., str]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What a run of so many steps ends with when nothing happens and no daemon is there."""
    known: dict[tuple[str, ...], str] = {}

    def train(steps: int, **overrides: str) -> str:
        key = (str(steps), *(f"{name}={overrides[name]}" for name in sorted(overrides)))
        if key not in known:
            root = tmp_path_factory.mktemp("undisturbed")
            write_corpus(root / "corpus")
            path = root / "tiny.toml"
            text = spec_text(root / "corpus", steps=steps, **overrides)
            path.write_text(text, encoding="utf-8")
            subprocess.run(
                [sys.executable, "-m", "trainer", str(path), "--dir", str(root / "run")],
                check=True,
                capture_output=True,
                timeout=240,
            )
            known[key] = digest(root / "run", steps)
        return known[key]

    return train
