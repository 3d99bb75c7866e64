"""The throttle: caps on a card whose limit cannot be set, by pausing for a part of each minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from orchestrator.domain import Hold, Setpoint
from orchestrator.home.gpu import Gpu, GpuLost
from orchestrator.power.duty import Draw, cycled


class Throttle(Protocol):
    """Asked at every tick between the decision and the action; it never raises."""

    def now(
        self, setpoint: Setpoint, holds: Iterable[Hold], seconds: float, *, computing: bool
    ) -> Setpoint:
        """What of the setpoint is to be obeyed at this moment."""


class NoThrottle:
    """The limit on the card does it, or there is no card."""

    def now(
        self, setpoint: Setpoint, holds: Iterable[Hold], seconds: float, *, computing: bool
    ) -> Setpoint:
        return setpoint


class DutyCycle:
    """Pauses in a ratio while the card's own limit does not obey."""

    def __init__(self, gpu: Gpu, in_force: Callable[[], bool]) -> None:
        """Cycle on ``gpu``.

        Args:
            in_force: whether the cap that was wanted last is the limit on the card.
        """
        self._gpu, self._in_force = gpu, in_force
        self._draw = Draw()

    def now(
        self, setpoint: Setpoint, holds: Iterable[Hold], seconds: float, *, computing: bool
    ) -> Setpoint:
        """See ``Throttle.now``."""
        if setpoint.cap_watts is None or not self._in_force():
            # What a limited card draws says nothing about what it would draw without.
            self._draw = self._draw.fold(self._watts(), computing=computing)
        return setpoint if self._in_force() else cycled(setpoint, holds, seconds, self._draw)

    def _watts(self) -> float | None:
        try:
            return self._gpu.read().power_watts
        except GpuLost:
            return None
