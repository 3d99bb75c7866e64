"""What is around the run: the card, the UPS, the room on the disks, the messages that went out.

Read when somebody asks, apart from the snapshot: nothing of it decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, GpuLost, GpuReading
from orchestrator.home.ups import UpsReading
from orchestrator.home.volumes import Volume, Volumes

if TYPE_CHECKING:
    from orchestrator.courier import Courier
    from orchestrator.holds.ups_sense import UpsSense

#: an older answer of the UPS is no longer told as if it were fresh
FRESH_SECONDS = 30.0


@dataclass(frozen=True)
class UpsView:
    """``reading`` None: there is no fresh one. ``read_at`` None: there never was one."""

    reading: UpsReading | None
    read_at: datetime | None


@dataclass(frozen=True)
class GpuView:
    """The first card; None: it is lost."""

    reading: GpuReading | None
    processes: int | None
    #: nvml, or simulated: then every figure is only a model's
    source: str = "nvml"


@dataclass(frozen=True)
class ReloadView:
    """How the last reading of the configuration went; the start counts as one."""

    successful: bool
    succeeded_at: datetime
    #: empty: none
    problem: str


@dataclass(frozen=True)
class Surroundings:
    """None where nothing of the kind is configured."""

    volumes: tuple[Volume, ...] = ()
    ups: UpsView | None = None
    gpu: GpuView | None = None
    #: messages since the daemon started, by how they went: sent, failed
    messages: dict[str, int] | None = None
    reload: ReloadView | None = None
    #: Xid events of the card since the daemon started, by number
    xids: dict[int, int] | None = None


class Lookout:
    """Puts the surroundings together. ``look`` may be called from any thread."""

    def __init__(
        self,
        clock: Clock,
        volumes: Volumes,
        ups: UpsSense | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        self._clock = clock
        self._volumes = volumes
        self._ups = ups
        self._gpu = gpu
        #: set once it is known whether anybody wants messages
        self.courier: Courier | None = None
        #: set once there is a configuration that can be read again
        self.reload: Callable[[], ReloadView] | None = None
        #: set once somebody listens to the driver of the card
        self.xids: Callable[[], dict[int, int] | None] = lambda: None

    def look(self) -> Surroundings:
        """How things are now."""
        courier = self.courier
        return Surroundings(
            volumes=self._volumes.read(),
            ups=self._ups_view() if self._ups is not None else None,
            gpu=_gpu_view(self._gpu) if self._gpu is not None else None,
            messages=dict(courier.totals) if courier is not None else None,
            reload=self.reload() if self.reload is not None else None,
            xids=self.xids(),
        )

    def _ups_view(self) -> UpsView:
        assert self._ups is not None, "look() has asked"
        known = self._ups.state()
        if known.reading is None:
            return UpsView(None, None)
        fresh = not known.problem and known.age_seconds <= FRESH_SECONDS
        read_at = self._clock.now() - timedelta(seconds=known.age_seconds)
        return UpsView(known.reading if fresh else None, read_at)


def _gpu_view(gpu: Gpu) -> GpuView:
    try:
        return GpuView(gpu.read(), len(gpu.processes()), gpu.source)
    except GpuLost:
        return GpuView(None, None, gpu.source)
