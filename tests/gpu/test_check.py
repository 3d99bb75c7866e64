"""The quick half of make gpu-check as a test: the memory model and exactness on CUDA."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu import check


@pytest.mark.gpu
@pytest.mark.timeout(1800)
def test_the_memory_model_is_right_within_5_percent_on_this_gpu(tmp_path: Path) -> None:
    assert check.main(["--depth", "12", "--out", str(tmp_path)]) == 0
