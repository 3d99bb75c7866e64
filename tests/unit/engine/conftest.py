"""The engine's children find the puppet wherever pytest was started."""

from __future__ import annotations

import pytest

from tests.unit.engine.harness import REPOSITORY


@pytest.fixture(autouse=True, scope="package")
def _repository_on_the_path() -> object:
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(REPOSITORY))
    yield
    patch.undo()
