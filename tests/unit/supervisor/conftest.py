"""A rig for every test of the supervisor, and others with a mirror."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings.checkpoint_config import CheckpointConfig
from tests.unit.supervisor.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    built = Rig(tmp_path)
    yield built
    built.store.close()


@pytest.fixture
def nas(tmp_path: Path) -> Path:
    nas = tmp_path / "nas"
    nas.mkdir()
    return nas


@pytest.fixture
def make_rig(tmp_path: Path, nas: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(name: str = "home", **options: Any) -> Rig:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        config = CheckpointConfig.model_validate({"mirror": str(nas), **options})
        rigs.append(Rig(root, checkpoint=config))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.store.close()
