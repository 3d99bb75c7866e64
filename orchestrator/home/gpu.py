"""The graphics card: its limits, what it draws, who computes on it, and the power limit we set."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class PowerLimits:
    """The range of the power limit, as the card itself says."""

    lowest_watts: float
    highest_watts: float
    #: what it goes back to when nobody wants anything
    default_watts: float


@dataclass(frozen=True)
class GpuReading:
    """One look at the card; None where it does not say."""

    power_watts: float | None
    temperature_celsius: float | None
    #: since the driver was loaded: it falls back to zero with it
    energy_joules: float | None
    #: the limit in force
    limit_watts: float | None
    memory_celsius: float | None = None
    #: how far the hottest spot is from where the card slows itself down; NVML names no hot spot
    margin_celsius: float | None = None


@dataclass(frozen=True)
class GpuProcess:
    """Somebody on the card."""

    pid: int
    name: str
    memory_bytes: int | None


class GpuLost(Exception):
    """The card does not answer any more: fallen off the bus, or the driver is gone."""


class NoRight(Exception):
    """The power limit may not be set by this user, or not on this card."""


class Gpu(Protocol):
    """The first card. Every method may raise GpuLost; none waits."""

    #: where the figures are from: "nvml" or "simulated"
    source: str

    def limits(self) -> PowerLimits | None:
        """The range of the power limit; None when the card has none that can be set."""

    def read(self) -> GpuReading:
        """Power, temperature, energy, limit."""

    def processes(self) -> tuple[GpuProcess, ...]:
        """Everybody on the card, ours included."""

    def set_limit(self, watts: float) -> None:
        """Set the power limit; it lasts until the driver is unloaded.

        Raises:
            NoRight: not allowed, or not possible on this card.
            ValueError: outside of the card's own range.
        """


class NvmlGpu:
    """The card by NVML.

    Raises:
        OSError: at construction, when there is no NVML or no card.
    """

    source = "nvml"

    def __init__(self, index: int = 0) -> None:
        import pynvml

        self._nvml: Any = pynvml
        #: this card, this driver or this user has no such figure; everything else is trouble
        self._no_answer = (
            pynvml.NVMLError_NotSupported,
            pynvml.NVMLError_NoPermission,
            pynvml.NVMLError_FunctionNotFound,
            pynvml.NVMLError_InvalidArgument,
            pynvml.NVMLError_NoData,
        )
        try:
            pynvml.nvmlInit()
            self._handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            raise OSError(f"no card by NVML: {error}") from None

    def limits(self) -> PowerLimits | None:
        low_high = self._ask("nvmlDeviceGetPowerManagementLimitConstraints")
        default = self._ask("nvmlDeviceGetPowerManagementDefaultLimit")
        if low_high is None or default is None:
            return None
        return PowerLimits(low_high[0] / 1e3, low_high[1] / 1e3, default / 1e3)

    def read(self) -> GpuReading:
        power = self._ask("nvmlDeviceGetPowerUsage")
        energy = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        celsius = self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)
        return GpuReading(
            power_watts=None if power is None else power / 1e3,
            temperature_celsius=None if celsius is None else float(celsius),
            energy_joules=None if energy is None else energy / 1e3,
            limit_watts=None if limit is None else limit / 1e3,
            memory_celsius=self._memory_celsius(),
            margin_celsius=self._ask("nvmlDeviceGetMarginTemperature"),
        )

    def processes(self) -> tuple[GpuProcess, ...]:
        found: dict[int, GpuProcess] = {}
        for question in (
            "nvmlDeviceGetComputeRunningProcesses",
            "nvmlDeviceGetGraphicsRunningProcesses",
        ):
            for item in self._ask(question) or ():
                found[item.pid] = GpuProcess(item.pid, self._name(item.pid), item.usedGpuMemory)
        return tuple(found[pid] for pid in sorted(found))

    def set_limit(self, watts: float) -> None:
        nvml = self._nvml
        try:
            nvml.nvmlDeviceSetPowerManagementLimit(self._handle, round(watts * 1000))
        except (nvml.NVMLError_NoPermission, nvml.NVMLError_NotSupported) as error:
            raise NoRight(str(error)) from None
        except nvml.NVMLError_InvalidArgument:
            raise ValueError(f"{watts:g} W is outside of the card's range") from None
        except nvml.NVMLError as error:
            raise GpuLost(str(error)) from None

    def _memory_celsius(self) -> float | None:
        nvml = self._nvml
        values = self._ask("nvmlDeviceGetFieldValues", [nvml.NVML_FI_DEV_MEMORY_TEMP])
        if values is None or values[0].nvmlReturn != nvml.NVML_SUCCESS:
            return None
        # A card without such a sensor may say 0 with success.
        return float(values[0].value.uiVal) or None

    def _name(self, pid: int) -> str:
        with contextlib.suppress(self._nvml.NVMLError):
            name = self._nvml.nvmlSystemGetProcessName(pid)
            return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        return ""

    def _ask(self, question: str, *arguments: Any) -> Any:
        """The answer; None when this card has none; GpuLost when it does not answer at all."""
        nvml = self._nvml
        try:
            return getattr(nvml, question)(self._handle, *arguments)
        except self._no_answer:
            return None
        except nvml.NVMLError as error:
            raise GpuLost(str(error)) from None


def installed_gpu() -> Gpu | None:
    """The first card of this machine; None where there is none, or no NVML."""
    try:
        return NvmlGpu()
    except OSError:
        return None
