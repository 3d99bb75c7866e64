"""The card that the daemon works with, and what may be done to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.home.assisted_gpu import AssistedGpu, PowerClient
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, installed_gpu
from orchestrator.home.limiter import GpuLimiter, Limiter, NoLimiter
from orchestrator.home.meter import Meter
from orchestrator.home.simulated_gpu import SimulatedGpu, SimulatedMeter
from orchestrator.home.xid import XidSource, installed_xids
from orchestrator.paths import Paths
from orchestrator.power.gpu_loss import MissingGpu
from orchestrator.power.metering import meter_of
from orchestrator.settings.power_config import PowerConfig

if TYPE_CHECKING:
    from orchestrator.settings.config import UpsConfig

#: dense training wants all that a card of this size may draw, and a little more
_BUSY_WATTS = 220.0


def card_of(
    power: PowerConfig,
    clock: Clock,
    stack: contextlib.ExitStack,
    computing: Callable[[], bool],
    lost: Path | None = None,
) -> Gpu | None:
    """The first card of this machine, helped where it needs help; None where there is none.

    Args:
        lost: the mark of a daemon that ended because the card was lost: then there is one, which
            does not answer.
        computing: whether a trainer computes, which is what a simulated card draws power for.
    """
    if power.card == "simulated":
        return SimulatedGpu(clock, wanted_watts=lambda: _BUSY_WATTS if computing() else 0.0)
    gpu = installed_gpu()
    if gpu is None and lost is not None and lost.exists():
        return MissingGpu(installed_gpu)
    if gpu is None or not power.limit:
        return gpu
    assisted = AssistedGpu(gpu, PowerClient(power.helper, clock))
    stack.callback(assisted.close)
    return assisted


def xids_of(gpu: Gpu | None) -> tuple[XidSource, ...]:
    """Who tells what the driver of the card reports; nobody where there is no card."""
    if isinstance(gpu, SimulatedGpu):
        return (gpu.xids,)
    return () if gpu is None else installed_xids()


def meter_for(
    gpu: Gpu | None, power: PowerConfig, ups: UpsConfig, clock: Clock, stack: contextlib.ExitStack
) -> Meter:
    """The meter; that of a simulated card where nobody asked for another. Raises Misconfigured."""
    if isinstance(gpu, SimulatedGpu) and power.meter == "auto":
        return SimulatedMeter(gpu)
    return meter_of(power, ups, clock, stack)


def limiter_of(
    gpu: Gpu | None, power: PowerConfig, paths: Paths, stack: contextlib.ExitStack
) -> Limiter:
    """What makes the setpoint's cap the card's limit; it lets go when ``stack`` is taken down."""
    if gpu is None or not power.limit:
        return NoLimiter()
    limiter = GpuLimiter(gpu, paths.state / "power-limit")
    stack.callback(limiter.release)
    return limiter
