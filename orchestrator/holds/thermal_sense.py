"""thermal: the heat of the card as a sense; first a cap, then a pause."""

from __future__ import annotations

import math
from collections.abc import Callable

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.heat_watch import Heat, HeatPolicy, advance
from orchestrator.holds.pause_depth import break_even_seconds, pause_depth
from orchestrator.holds.senses import Moment
from orchestrator.home.gpu import Gpu, GpuLost, GpuReading, PowerLimits

#: the lowest cap of a card that names no lowest limit, of what it draws
_LOWEST_RATIO = 0.5


class ThermalSense:
    """Asked at each tick. A card that does not answer begins no hold."""

    def __init__(self, gpu: Gpu, policy: HeatPolicy, trouble: Callable[[], None]) -> None:
        """Watch ``gpu``.

        Args:
            trouble: called when computing has to stop for heat, once in ``calm_seconds`` at most:
                time for a checkpoint.
        """
        self._gpu, self._policy, self._trouble = gpu, policy, trouble
        self._heat = Heat()
        self._base_watts: float | None = None
        self._held: Hold | None = None
        self._told_at: float | None = None

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        if moment.run is None:
            self._heat, self._held = Heat(), None
            return ()
        reading, limits = self._ask()
        lowest = self._lowest_watts(reading, limits)
        steps = self._most_steps(lowest)
        before = self._heat
        self._heat = advance(before, reading, moment.monotonic_seconds, self._policy, steps)
        if self._heat.paused_since is not None and before.paused_since is None:
            self._stopped(moment.monotonic_seconds)
        self._held = self._hold(moment, lowest)
        return (self._held,) if self._held else ()

    def _stopped(self, now: float) -> None:
        # Heat that comes and goes stops it every few minutes; a checkpoint each time is too much.
        if self._told_at is None or now - self._told_at >= self._policy.calm_seconds:
            self._told_at = now
            self._trouble()

    def _ask(self) -> tuple[GpuReading | None, PowerLimits | None]:
        try:
            return self._gpu.read(), self._gpu.limits()
        except GpuLost:
            return None, None

    def _lowest_watts(self, reading: GpuReading | None, limits: PowerLimits | None) -> float:
        if limits is not None:
            self._base_watts = limits.default_watts
            return limits.lowest_watts
        if self._base_watts is None and reading is not None:
            self._base_watts = reading.limit_watts or reading.power_watts
        return (self._base_watts or 0.0) * _LOWEST_RATIO

    def _most_steps(self, lowest: float) -> int:
        """Down to the lowest limit; none where nothing is known: then heat pauses at once."""
        if not self._base_watts:
            return 0
        # a hair less, because 1 - 0.7 is a little more than three steps of 0.1
        return math.ceil((1.0 - lowest / self._base_watts) / self._policy.step_ratio - 1e-6)

    def _hold(self, moment: Moment, lowest: float) -> Hold | None:
        heat = self._heat
        if heat.paused_since is not None:
            lasted = moment.monotonic_seconds - heat.paused_since
            effect, cap = pause_depth(lasted, break_even_seconds()), None
        elif heat.steps and self._base_watts:
            effect = Effect.CAP
            cap = max(lowest, self._base_watts * (1.0 - heat.steps * self._policy.step_ratio))
        else:
            return None
        same = self._held is not None and self._held.effect is effect
        since = self._held.since if same and self._held else moment.now
        return Hold(Reason.THERMAL, effect, "gpu", since, detail=heat.detail, cap_watts=cap)
