"""What the planner can choose from on this machine: the card's levels, or only off and full."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from orchestrator.home.gpu import Gpu, GpuLost
from orchestrator.home.limiter import may_set_limit
from orchestrator.planning.levels import assumed_levels, full_power_only
from orchestrator.planning.problem import Level, Machine, Pause
from orchestrator.settings.power_config import PowerConfig

log = logging.getLogger(__name__)

#: what running draws outside of the card: processor, memory, fans
REST_WATTS = 20.0
#: a card that keeps our memory does not fall into its deepest sleep
LOADED_WATTS = 15.0
#: meters that see the card and nothing else
CARD_METERS = ("nvml", "simulated")


@dataclass(frozen=True)
class Gear:
    """The levels, and what a meter's reading of them means."""

    levels: tuple[Level, ...]
    #: the card's default limit; None: no limit may be set
    full_watts: float | None
    has_card: bool
    supply_efficiency: float = 1.0

    def machine(self, idle_watts: float, restart_seconds: float) -> Machine:
        """What the planner sees.

        Args:
            idle_watts: of the whole machine while it waits, if it is on for the run only.
        """
        loaded = idle_watts + (LOADED_WATTS if self.has_card else 0.0)
        pauses = (
            Pause("pause", loaded, 0.0),
            Pause("release", idle_watts, restart_seconds),
        )
        return Machine(self.levels, pauses)

    def wall_watts(self, watts: float, source: str) -> float:
        """What a meter's reading means at the wall: a card sees itself alone."""
        return (watts + REST_WATTS) / self.supply_efficiency if source in CARD_METERS else watts


def gear_of(gpu: Gpu | None, power: PowerConfig) -> Gear:
    """The card's levels when its limit may be set, otherwise full power only. Never raises."""
    try:
        limits = gpu.limits() if gpu is not None else None
        wanted = power.limit and limits is not None
        allowed = wanted and gpu is not None and may_set_limit(gpu)
    except GpuLost as error:
        log.warning("the card does not answer, so the plan knows no levels: %s", error)
        limits, allowed = None, False
    efficiency = power.psu_efficiency
    if gpu is not None and limits is not None and allowed:
        levels = assumed_levels(
            limits.lowest_watts,
            limits.default_watts,
            rest_watts=REST_WATTS,
            supply_efficiency=efficiency,
        )
        return Gear(levels, limits.default_watts, True, efficiency)
    watts = power.busy_watts
    if gpu is not None:
        watts = ((limits.default_watts if limits else 200.0) + REST_WATTS) / efficiency
    return Gear(full_power_only(watts), None, gpu is not None, efficiency)
