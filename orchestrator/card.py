"""The card that the daemon works with, and what may be done to it."""

from __future__ import annotations

import contextlib

from orchestrator.home.assisted_gpu import AssistedGpu, PowerClient
from orchestrator.home.clock import Clock
from orchestrator.home.gpu import Gpu, installed_gpu
from orchestrator.home.limiter import GpuLimiter, Limiter, NoLimiter
from orchestrator.paths import Paths
from orchestrator.power_config import PowerConfig


def card_of(power: PowerConfig, clock: Clock, stack: contextlib.ExitStack) -> Gpu | None:
    """The first card of this machine, helped where it needs help; None where there is none."""
    gpu = installed_gpu()
    if gpu is None or not power.limit:
        return gpu
    assisted = AssistedGpu(gpu, PowerClient(power.helper, clock))
    stack.callback(assisted.close)
    return assisted


def limiter_of(
    gpu: Gpu | None, power: PowerConfig, paths: Paths, stack: contextlib.ExitStack
) -> Limiter:
    """What makes the setpoint's cap the card's limit; it lets go when ``stack`` is taken down."""
    if gpu is None or not power.limit:
        return NoLimiter()
    limiter = GpuLimiter(gpu, paths.state / "power-limit")
    stack.callback(limiter.release)
    return limiter
