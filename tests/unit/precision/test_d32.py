"""The real d32 in the memory of a home computer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_step_of_the_real_d32_fits_into_20_gb_of_cpu_memory() -> None:
    """State, backward and update of 1.88 billion parameters; never all of them in float32."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.unit.precision.d32_step", "bf16-8bit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    print(found)
    assert found["parameters"] == 1_879_048_192
    assert found["loss"] == pytest.approx(11.09, abs=0.5)
    assert found["moved"] == [
        "transformer.wte.weight",
        "lm_head.weight",
        "transformer.h.0.attn.c_proj.weight",
        "transformer.h.31.mlp.c_proj.weight",
    ]
    live = found["live_bytes"]
    assert live["weights"] == 2 * 1_879_048_192
    assert live["gradients_on_device"] == 2 * 1_879_048_192
    blocks, tables = 1_610_612_736, 268_435_456
    assert live["optimizer_on_device"] == (blocks + 2 * tables) * (256 + 4) // 256
    assert found["peak_bytes"]["step"] < 20e9
