"""A card that is only a model: for tests, for the simulator, and for machines without one."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.domain import Power
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, GpuLost, GpuProcess, GpuReading, NoRight, PowerLimits
from orchestrator.home.xid import FakeXids

#: what an RTX 4070 says of itself, more or less: boards differ
LIMITS = PowerLimits(lowest_watts=100.0, highest_watts=215.0, default_watts=200.0)


@dataclass(frozen=True)
class Heat:
    """One thermal mass that cools towards the room."""

    room_celsius: float = 22.0
    #: in the end, above the room
    celsius_per_watt: float = 0.24
    time_constant_seconds: float = 90.0
    #: how much hotter than the core its memory and its hottest spot are
    memory_celsius: float = 10.0
    spot_celsius: float = 12.0
    #: where the card slows itself down, at the hottest spot
    slowdown_celsius: float = 105.0

    def after(self, celsius: float, watts: float, seconds: float) -> float:
        """The temperature when ``watts`` have been drawn for ``seconds``."""
        end = self.room_celsius + self.celsius_per_watt * watts
        return end + (celsius - end) * math.exp(-seconds / self.time_constant_seconds)


@dataclass
class SimulatedGpu:
    """Draws its limit while it is busy and ``idle_watts`` otherwise; everything can go wrong."""

    clock: Clock
    range_watts: PowerLimits | None = LIMITS
    idle_watts: float = 8.0
    heat: Heat = Heat()
    #: whether this user may set the limit
    permitted: bool = True
    #: whether it has fallen off the bus
    lost: bool = False
    #: what it would draw without a limit: the work of all on it; 0 is idle
    wanted_watts: Callable[[], float] = lambda: 0.0
    others: list[GpuProcess] = field(default_factory=list)
    #: throws what its driver reports
    xids: FakeXids = field(default_factory=FakeXids)
    source: str = "simulated"

    def __post_init__(self) -> None:
        #: the tick and the readers of the metrics ask from threads of their own
        self._lock = threading.Lock()
        self._limit = self.range_watts.default_watts if self.range_watts else 200.0
        self._energy = 0.0
        self._celsius = self.heat.room_celsius + self.heat.celsius_per_watt * self.idle_watts
        self._seen = self.clock.monotonic()

    # --- the protocol -----------------------------------------------------------------------

    def limits(self) -> PowerLimits | None:
        """See ``Gpu.limits``."""
        self._answer()
        return self.range_watts

    def read(self) -> GpuReading:
        """See ``Gpu.read``."""
        self._answer()
        self.pass_time()
        return GpuReading(
            self.watts,
            self._celsius,
            self._energy,
            self._limit,
            memory_celsius=self._celsius + self.heat.memory_celsius,
            margin_celsius=self.heat.slowdown_celsius - self._celsius - self.heat.spot_celsius,
        )

    def processes(self) -> tuple[GpuProcess, ...]:
        """See ``Gpu.processes``."""
        self._answer()
        return tuple(self.others)

    def set_limit(self, watts: float) -> None:
        """See ``Gpu.set_limit``."""
        self._answer()
        if not self.permitted or self.range_watts is None:
            raise NoRight("Insufficient Permissions")
        if not self.range_watts.lowest_watts <= watts <= self.range_watts.highest_watts:
            raise ValueError(f"{watts:g} W is outside of the card's range")
        self.pass_time()
        self._limit = watts

    # --- what the model does ----------------------------------------------------------------

    @property
    def limit_watts(self) -> float:
        """The limit in force."""
        return self._limit

    @property
    def watts(self) -> float:
        """Drawn now."""
        return max(self.idle_watts, min(self._limit, self.wanted_watts()))

    def pass_time(self) -> None:
        """Bring energy and temperature up to now; call it before what is wanted changes."""
        with self._lock:
            now = self.clock.monotonic()
            seconds, self._seen = now - self._seen, now
            self._energy += self.watts * seconds
            self._celsius = self.heat.after(self._celsius, self.watts, seconds)

    def reload_driver(self) -> None:
        """As after a reboot: the counter starts anew, the limit is the default again."""
        self.pass_time()
        self._energy = 0.0
        self._limit = self.range_watts.default_watts if self.range_watts else self._limit

    def _answer(self) -> None:
        if self.lost:
            raise GpuLost("GPU is lost")


class SimulatedMeter:
    """What a simulated card would draw. No measurement, and never called one."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def read(self) -> Power:
        """See ``Meter.read``."""
        try:
            watts = self._gpu.read().power_watts
        except GpuLost:
            watts = None
        return Power(watts, "simulated", measured=False)
