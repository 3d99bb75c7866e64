"""The real card's code over NVML's own module, whose functions say what a card would say."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from orchestrator.home.gpu import GpuLost, NoRight, NvmlGpu, PowerLimits

Say = Callable[..., None]


def memory(celsius: int, code: int = pynvml.NVML_SUCCESS) -> list[SimpleNamespace]:
    return [SimpleNamespace(nvmlReturn=code, value=SimpleNamespace(uiVal=celsius))]


#: an RTX 4070 with everything that a card can say
ANSWERS: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlDeviceGetHandleByIndex": "card",
    "nvmlDeviceGetPowerManagementLimitConstraints": [100_000, 215_000],
    "nvmlDeviceGetPowerManagementDefaultLimit": 200_000,
    "nvmlDeviceGetPowerUsage": 187_500,
    "nvmlDeviceGetTotalEnergyConsumption": 5_000_000,
    "nvmlDeviceGetEnforcedPowerLimit": 200_000,
    "nvmlDeviceGetTemperature": 66,
    "nvmlDeviceGetFieldValues": memory(84),
    "nvmlDeviceGetMarginTemperature": 18,
    "nvmlDeviceSetPowerManagementLimit": None,
}


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Let functions of NVML answer so, or raise."""

    def say(**answers: Any) -> None:
        for name, answer in answers.items():

            def function(*arguments: Any, answer: Any = answer) -> Any:
                if isinstance(answer, Exception):
                    raise answer
                return answer

            monkeypatch.setattr(pynvml, name, function)

    say(**ANSWERS)
    return say


def error(name: str) -> Exception:
    """One of NVML's own errors."""
    code = getattr(pynvml, f"NVML_ERROR_{name}")
    made = pynvml.NVMLError(code)
    assert isinstance(made, Exception)
    return made


def test_a_card_that_says_everything(say: Say) -> None:
    gpu = NvmlGpu()
    assert gpu.limits() == PowerLimits(100.0, 215.0, 200.0)
    reading = gpu.read()
    assert (reading.power_watts, reading.energy_joules, reading.limit_watts) == (187.5, 5e3, 200.0)
    assert (reading.temperature_celsius, reading.memory_celsius) == (66.0, 84.0)
    assert reading.margin_celsius == 18
    gpu.set_limit(140.0)


@pytest.mark.parametrize("name", ["NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_DATA"])
def test_what_a_card_or_its_driver_cannot_say_is_unknown_and_no_trouble(
    say: Say, name: str
) -> None:
    say(
        nvmlDeviceGetPowerManagementLimitConstraints=error(name),
        nvmlDeviceGetFieldValues=error(name),
        nvmlDeviceGetMarginTemperature=error(name),
        nvmlDeviceGetTotalEnergyConsumption=error(name),
    )
    reading = NvmlGpu().read()
    assert NvmlGpu().limits() is None
    assert (reading.memory_celsius, reading.margin_celsius) == (None, None)
    assert reading.energy_joules is None
    assert reading.temperature_celsius == 66.0


@pytest.mark.parametrize("field", [memory(0), memory(84, pynvml.NVML_ERROR_NOT_SUPPORTED)])
def test_a_memory_without_a_sensor_is_unknown_and_not_freezing(
    say: Say, field: list[SimpleNamespace]
) -> None:
    say(nvmlDeviceGetFieldValues=field)
    assert NvmlGpu().read().memory_celsius is None


@pytest.mark.parametrize("name", ["GPU_IS_LOST", "UNKNOWN", "UNINITIALIZED"])
def test_a_card_that_fell_off_the_bus_is_lost(say: Say, name: str) -> None:
    gpu = NvmlGpu()
    say(
        nvmlDeviceGetPowerUsage=error(name),
        nvmlDeviceGetPowerManagementLimitConstraints=error(name),
        nvmlDeviceSetPowerManagementLimit=error(name),
    )
    for ask in (gpu.read, gpu.limits, lambda: gpu.set_limit(140.0)):
        with pytest.raises(GpuLost):
            ask()


def test_each_refusal_of_a_limit_is_told_apart(say: Say) -> None:
    gpu = NvmlGpu()
    for name, kind in (
        ("NO_PERMISSION", NoRight),
        ("NOT_SUPPORTED", NoRight),
        ("INVALID_ARGUMENT", ValueError),
    ):
        say(nvmlDeviceSetPowerManagementLimit=error(name))
        with pytest.raises(kind):
            gpu.set_limit(140.0)


def test_everybody_on_the_card_is_named_once(say: Say) -> None:
    process = SimpleNamespace(pid=7, usedGpuMemory=None)
    say(
        nvmlDeviceGetComputeRunningProcesses=[process],
        nvmlDeviceGetGraphicsRunningProcesses=[process],
        nvmlSystemGetProcessName=b"/usr/bin/doom",
    )
    (found,) = NvmlGpu().processes()
    assert (found.pid, found.name, found.memory_bytes) == (7, "/usr/bin/doom", None)


def test_without_a_card_there_is_none(say: Say) -> None:
    say(nvmlInit=error("DRIVER_NOT_LOADED"))
    with pytest.raises(OSError, match="no card by NVML"):
        NvmlGpu()
