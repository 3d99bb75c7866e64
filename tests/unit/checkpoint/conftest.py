from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.checkpoint.lease import Lease


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def lease(run_dir: Path) -> Iterator[Lease]:
    with Lease.take(run_dir, 1) as lease:
        yield lease
