"""Tally: what one kind of fault did so far, on its way to a row."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tests.campaign.row import Row


@dataclass
class Tally:
    """Counts injections, recoveries, and the computing that each one cost."""

    fault: str
    injected: int = 0
    recovered: int = 0
    wrong: int = 0
    lost_seconds: list[float] = field(default_factory=list)

    def recovered_after(self, lost_seconds: float) -> None:
        """One fault was survived at this price."""
        self.recovered += 1
        self.lost_seconds.append(lost_seconds)

    def row(self) -> Row:
        """As the table has it."""
        lost = self.lost_seconds or [0.0]
        return Row(
            self.fault,
            self.injected,
            max(lost),
            statistics.median(lost),
            self.recovered,
            self.wrong,
        )
