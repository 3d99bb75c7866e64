"""The whole of make gpu-check where there is no GPU: its measurements on the CPU, its flow played.

Torch's CUDA functions are replaced by ones that answer like a card of 24 GiB.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.gpu import check, probe
from trainer.contract.spec import MemorySpec, ModelSpec, RunSpec, TrainSpec
from trainer.precision import RECIPES
from trainer.sizing.memory import memory
from trainer.sizing.storage import storage_of

CPU = torch.device("cpu")
GIB = 1 << 30
TINY = RunSpec(
    name="tiny",
    model=ModelSpec(depth=1, vocab_size=512, sequence_length=32),
    train=TrainSpec(steps=4, batch_tokens=128, micro_batch=2, precision="bf16-8bit", device="cpu"),
)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 4090, of which 2 GiB are taken and 1 GiB is reserved."""
    answers = {
        "is_available": True,
        "init": None,
        "get_device_name": "NVIDIA GeForce RTX 4090",
        "get_device_properties": SimpleNamespace(total_memory=24 * GIB),
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 7 * GIB,
        "max_memory_reserved": 8 * GIB,
        "memory_reserved": GIB,
        "mem_get_info": (22 * GIB, 24 * GIB),
        "synchronize": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)


def test_the_probe_resumes_to_the_byte_on_a_cpu() -> None:
    assert probe.exactness(TINY, CPU) == {"resumed_equal": True, "repeated_equal": True}


def test_the_probe_counts_whole_steps() -> None:
    found = probe.speed(TINY, CPU)
    assert found["tokens_per_second"] > 0
    assert found["step_seconds"] > 0


def test_the_probe_reads_the_allocator(card: None) -> None:
    found = probe.memory(TINY, CPU)
    assert found == {
        "allocated": 7 * GIB,
        "reserved": 8 * GIB,
        "context": GIB,
        "host": found["host"],
    }


def asked(kind: str, spec: RunSpec, limit: int | None) -> dict[str, Any]:
    """As a probe on a card where everything is as the model says, and int8 1.7 times as fast."""
    if kind == "exactness":
        return {"resumed_equal": True, "repeated_equal": True}
    if kind == "speed":
        fast = 1.7 if spec.train.precision == "int8" else 1.0
        return {"tokens_per_second": 3000.0 * fast, "step_seconds": 2.0}
    expected = memory(spec.model, storage_of(spec), spec.train.micro_batch)
    assert limit == 12 * GIB
    assert expected.peak <= limit
    return {
        "allocated": expected.allocated, "reserved": expected.peak, "context": GIB // 2, "host": 0
    }  # fmt: skip


def test_every_recipe_is_measured_and_written_down(
    card: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(check, "_ask", asked)
    assert check.main(["--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())["gpu_check"]
    assert [each["recipe"] for each in found["exactness"]] == list(RECIPES)
    depths = {each["recipe"]: each["depth"] for each in found["memory"]}
    assert depths["int8"] == depths["nf4"] == 32
    assert depths["fp32"] == 20
    speeds = {(each["recipe"], each["depth"]) for each in found["speed"]}
    assert {("bf16-8bit", 20), ("bf16-8bit", 32), ("int8", 20), ("int8", 32)} <= speeds
    assert "int8 is 1.70 times as fast as bf16" in (tmp_path / "gpu.md").read_text()


def test_a_model_that_is_off_is_exit_code_1(
    card: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def twice(kind: str, spec: RunSpec, limit: int | None) -> dict[str, Any]:
        answer = asked(kind, spec, limit)
        return answer | {"allocated": 2 * answer["allocated"]} if kind == "memory" else answer

    monkeypatch.setattr(check, "_ask", twice)
    arguments = ["--depth", "12", "--recipe", "int8", "--out", str(tmp_path)]
    assert check.main(arguments) == 1


def test_a_probe_that_dies_is_a_row_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = SimpleNamespace(stdout="", stderr="warning\nSegmentation fault\n", returncode=-11)
    monkeypatch.setattr(check.subprocess, "run", lambda *_, **__: dead)
    spec = RunSpec(name="x", train=TrainSpec(micro_batch=8), memory=MemorySpec())
    answer = check._ask("memory", spec, None)
    assert answer == {"error": "the probe died (-11): Segmentation fault"}
