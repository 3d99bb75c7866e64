"""What the bytes depend on, and the peak that speed is measured against."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.loop.support import tiny_spec
from trainer import environment, peak, sizing
from trainer.clock import SystemClock
from trainer.environment import NoDeviceError

CPU = torch.device("cpu")


def test_the_same_environment_has_no_differences() -> None:
    environment.settle(CPU, 1)
    found = environment.describe(CPU, False)
    assert environment.compare(found, environment.describe(CPU, False)) == []
    assert found["threads"] == 1
    assert found["torch"] == str(torch.__version__)
    assert found["deterministic"] is True
    assert found["device_name"]


def test_each_difference_is_named_with_both_values() -> None:
    before = {"torch": "2.12.0", "threads": 4, "old": 1}
    now = {"torch": "2.13.0", "threads": 4, "new": 2}
    assert environment.compare(before, now) == [
        "PyTorch: 2.12.0 -> 2.13.0",
        "new: None -> 2",
        "old: 1 -> None",
    ]


def test_threads_come_from_the_spec_then_from_the_first_start_then_from_the_machine() -> None:
    fixed = tiny_spec(Path("x"), threads=3).train
    free = tiny_spec(Path("x"), threads=0).train
    assert environment.threads_for(fixed, 8) == 3
    assert environment.threads_for(free, 8) == 8
    assert environment.threads_for(free, 0) == environment.available_cores()


def test_an_automatic_recipe_suits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    free = tiny_spec(Path("x"), precision="auto").train
    assert environment.precision_for(free, CPU) == "bf16"
    cuda = torch.device("cuda")
    for capability, expected in (((8, 9), "int8"), ((8, 6), "bf16-8bit"), ((9, 0), "bf16-8bit")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert environment.precision_for(free, cuda) == expected
        fixed = tiny_spec(Path("x"), precision="fp32").train
        assert environment.precision_for(fixed, cuda) == "fp32"


def test_settling_sets_the_threads_and_may_be_done_again() -> None:
    environment.settle(CPU, 1)
    environment.settle(CPU, 2)
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused_in_words() -> None:
    with pytest.raises(NoDeviceError, match='device = "cuda"'):
        environment.device_for("cuda")
    assert environment.device_for("auto") == CPU


def test_a_known_cards_peak_is_its_data_sheets() -> None:
    card = sizing.CARDS["RTX 4070"]
    assert peak.of_card(card, "bf16").flops == pytest.approx(58.3e12, rel=0.01)
    assert peak.of_card(card, "fp32").flops == pytest.approx(29.1e12, rel=0.01)
    assert "RTX 4070" in peak.of_card(card, "bf16").source


def test_a_cpus_peak_is_measured_and_says_so() -> None:
    torch.set_num_threads(1)
    found = peak.peak_of(CPU, "fp32", SystemClock())
    assert 1e8 < found.flops < 1e14
    assert found.source == "measured: float32 matrix product on 1 CPU threads"


def test_bf16_is_measured_against_the_faster_format() -> None:
    torch.set_num_threads(1)
    plain = peak.measured(CPU, "fp32", SystemClock())
    mixed = peak.measured(CPU, "bf16", SystemClock())
    assert mixed.flops > 0.3 * plain.flops
