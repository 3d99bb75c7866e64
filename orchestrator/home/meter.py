"""The power meter: what the machine's compute device draws, measured or estimated."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any, Protocol

import psutil

from orchestrator.domain import Power
from orchestrator.home.clock import Clock
from orchestrator.home.energy_counter import Counter, advance

_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


class Meter(Protocol):
    """One reading a tick; ``watts`` None means that the meter did not answer."""

    def read(self) -> Power: ...


class NvmlMeter:
    """The card's own meter by NVML, for the first GPU.

    The mean power since the last reading by the card's counter of energy, so that nothing between
    two ticks is missed; on a card without one, the power at the moment. A driver that is loaded
    anew starts its counter anew, and its library has to be opened anew.

    Raises:
        OSError: at construction, when there is no NVML or no card.
    """

    def __init__(self, clock: Clock, nvml: Any = None) -> None:
        self._clock = clock
        self._nvml: Any = nvml or importlib.import_module("pynvml")
        self._counter: Counter | None = None
        try:
            self._open()
            self._nvml.nvmlDeviceGetPowerUsage(self._handle)
        except self._nvml.NVMLError as error:
            raise OSError(f"no NVML power reading: {error}") from None

    def read(self) -> Power:
        try:
            return Power(self._watts(), "nvml", measured=True)
        except self._nvml.NVMLError:
            self._counter = None
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            with contextlib.suppress(self._nvml.NVMLError):
                self._open()
            return Power(None, "nvml", measured=True)

    def _open(self) -> None:
        self._nvml.nvmlInit()
        self._handle: Any = self._nvml.nvmlDeviceGetHandleByIndex(0)

    def _watts(self) -> float:
        try:
            millijoules = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError_NotSupported:
            return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000.0)
        self._counter = advance(self._counter, millijoules / 1000.0, self._clock.monotonic())
        if self._counter.watts is not None:
            return self._counter.watts
        return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000.0)


class RaplMeter:
    """The processor package's energy counter (Linux powercap).

    Raises:
        OSError: at construction, when the counter is missing or not readable.
    """

    def __init__(self, clock: Clock, counter: Path = _RAPL) -> None:
        self._clock = clock
        self._counter = counter
        self._range_microjoules = int((counter.parent / "max_energy_range_uj").read_text())
        self._last = (clock.monotonic(), int(counter.read_text()))

    def read(self) -> Power:
        try:
            now, energy = self._clock.monotonic(), int(self._counter.read_text())
        except (OSError, ValueError):
            return Power(None, "rapl", measured=True)
        (before, energy_before), self._last = self._last, (now, energy)
        if now <= before:
            return Power(None, "rapl", measured=True)
        # The counter wraps at its range, about once an hour on a busy package.
        microjoules = (energy - energy_before) % (self._range_microjoules + 1)
        return Power(microjoules / 1e6 / (now - before), "rapl", measured=True)


class EstimatedMeter:
    """No meter: a line from idle to busy watts along the processor's load. Marked as estimated."""

    def __init__(self, idle_watts: float, busy_watts: float) -> None:
        self._idle_watts = idle_watts
        self._busy_watts = busy_watts
        psutil.cpu_percent(None)

    def read(self) -> Power:
        load = psutil.cpu_percent(None) / 100.0
        watts = self._idle_watts + (self._busy_watts - self._idle_watts) * load
        return Power(watts, "estimated", measured=False)


class FakeMeter:
    """A meter that shows what it is told."""

    def __init__(self, watts: float | None = 100.0, *, measured: bool = True) -> None:
        self.watts = watts
        self.measured = measured

    def read(self) -> Power:
        return Power(self.watts, "fake", measured=self.measured)


def best_meter(clock: Clock, idle_watts: float, busy_watts: float) -> Meter:
    """The card's meter where there is a card, else the package's, else an estimate."""
    with contextlib.suppress(OSError):
        return NvmlMeter(clock)
    with contextlib.suppress(OSError, ValueError):
        return RaplMeter(clock)
    return EstimatedMeter(idle_watts, busy_watts)
