"""What is to be simulated, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation

from orchestrator.errors import Invalid
from orchestrator.home.gpu import PowerLimits
from orchestrator.home.simulated_gpu import LIMITS
from orchestrator.planning.levels import assumed_levels
from orchestrator.planning.online import Rules
from orchestrator.planning.problem import Machine, Pause
from orchestrator.simulation.market import Adders

#: days that are simulated unless the deadline needs more
USUAL_DAYS = 35
#: after the deadline, to see how late it gets
_LATE = timedelta(days=2)
_MOST_HOURS = 24.0 * 366


@dataclass(frozen=True)
class Wish:
    """One month."""

    work_hours: float = 480.0
    slack: float = 0.5
    #: None: as many as the deadline needs, at least USUAL_DAYS
    days: float | None = None
    seed: int = 0
    outages: str = "0"
    games: str = "0"
    #: the card may not be limited: off and full are the only levels
    may_limit: bool = True
    #: drawn at the wall while the run pauses, by the machine as a whole
    idle_watts: float = 0.0
    #: a step and a start of the trainer, and how often it saves
    step_seconds: float = 120.0
    restart_seconds: float = 120.0
    save_every_seconds: float = 1800.0
    limits: PowerLimits = LIMITS
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if not 0.0 < self.work_hours <= _MOST_HOURS:
            raise Invalid(f"--work-hours {self.work_hours:g} is no work", "as --work-hours 480")
        if not 0.0 <= self.slack <= 10.0:
            raise Invalid(f"--slack {self.slack:g} is out of range", "0 to 10; 0.5 is half more")
        if self.days is not None and not 0.0 < self.days <= 366.0:
            raise Invalid(f"--days {self.days:g} is out of range", "more than 0, at most 366")

    def deadline(self, start: datetime) -> datetime:
        """start + work x (1 + slack)."""
        return start + timedelta(hours=self.work_hours * (1.0 + self.slack))

    def end(self, start: datetime) -> datetime:
        """When the simulation ends at latest."""
        if self.days is not None:
            return start + timedelta(days=self.days)
        return max(start + timedelta(days=USUAL_DAYS), self.deadline(start) + _LATE)

    @property
    def machine(self) -> Machine:
        """What the planner can choose from. A restart also costs half a step on average."""
        restart = self.restart_seconds + self.step_seconds / 2.0
        pauses = (
            # Paused it keeps its memory on the card, and the card out of its deepest sleep.
            Pause("pause", self.idle_watts + 15.0, 0.0),
            Pause("release", self.idle_watts, restart),
        )
        levels = assumed_levels(self.limits.lowest_watts, self.limits.default_watts)
        if not self.may_limit:
            full = levels[-1]
            levels = (type(full)(None, 1.0, full.wall_watts),)
        return Machine(levels, pauses)


def parse_adders(texts: tuple[str, ...]) -> Adders:
    """``0.10`` is money per kWh, ``21%`` is VAT on the sum; several are separated by commas.

    Raises:
        Invalid: something is neither.
    """
    per_kwh, vat = Decimal(0), Decimal(0)
    for text in (part.strip() for item in texts for part in item.split(",") if part.strip()):
        try:
            number = Decimal(text.removesuffix("%").strip())
            if not number.is_finite() or abs(number) > 1000:
                raise InvalidOperation
        except InvalidOperation:
            raise Invalid(f"--adders: no amount {text!r}", "as --adders 0.10,21%") from None
        if text.endswith("%"):
            vat += number / 100
        else:
            per_kwh += number
    return Adders(per_kwh, vat)


def parse_start(text: str, zone: tzinfo) -> datetime:
    """A day, or a day and a time, on the clock of ``zone``.

    Raises:
        Invalid: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"--start: no date {text!r}", "as --start 2026-01-15") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
