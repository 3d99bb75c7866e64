"""The UPS: what it says about mains and battery. ``nut`` has the real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class UpsReading:
    """One answer of the UPS; None where it does not say."""

    on_battery: bool
    low_battery: bool = False
    #: the UPS' master has decided that everything shuts down; never taken back
    forced_shutdown: bool = False
    #: 0..1
    charge_ratio: float | None = None
    runtime_seconds: float | None = None
    #: what hangs on it draws so much
    load_watts: float | None = None


class UpsError(Exception):
    """The UPS, its driver or its server does not answer, or answers with old news."""


class Ups(Protocol):
    """One reading a call; it may wait for a network and is never called by the tick."""

    def read(self) -> UpsReading:
        """Raises UpsError."""


class FakeUps:
    """A UPS that says what it is told; a text is an error."""

    def __init__(self, says: UpsReading | str = UpsReading(on_battery=False)) -> None:
        self.says = says

    def read(self) -> UpsReading:
        if isinstance(self.says, str):
            raise UpsError(self.says)
        return self.says
