"""What a price is the sum of. Each component says its part at a moment; None: it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from orchestrator.tariff.slots import PriceSeries, Source
from orchestrator.tariff.when import When


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant, and what the household's clock and calendar say then."""

    utc: datetime
    local: datetime
    holiday: bool
    #: what homerun itself uses in the billing period
    used_kwh: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """A component's part of the price of a kWh."""

    price: Decimal
    source: Source = Source.FIXED


class Component(Protocol):
    """One term of the sum."""

    @property
    def gross(self) -> bool:
        """Whether VAT is in it already."""

    @property
    def timed(self) -> bool:
        """Whether it may change at any quarter of an hour on the wall."""

    @property
    def series(self) -> PriceSeries | None:
        """Slots at whose borders it changes."""

    def part(self, moment: Moment) -> Part | None:
        """Its part at that moment."""


@dataclass(frozen=True)
class Flat:
    """The same at any time: an energy price, a grid fee, a levy."""

    name: str
    price: Decimal
    gross: bool = False
    timed: bool = False
    series: None = None

    def part(self, moment: Moment) -> Part | None:
        return Part(self.price)


@dataclass(frozen=True)
class Zone:
    """A price at certain times."""

    when: When
    price: Decimal
    name: str = ""


@dataclass(frozen=True)
class TimeOfUse:
    """The last zone that holds; ``otherwise`` where none does, and missing without that."""

    zones: tuple[Zone, ...]
    otherwise: Decimal | None = None
    gross: bool = False
    timed: bool = True
    series: None = None

    def part(self, moment: Moment) -> Part | None:
        for zone in reversed(self.zones):
            if zone.when.holds(moment.local, holiday=moment.holiday):
                return Part(zone.price)
        return None if self.otherwise is None else Part(self.otherwise)


@dataclass(frozen=True)
class Tier:
    """A price above a use per month, at certain times."""

    above_kwh: Decimal
    when: When
    price: Decimal


@dataclass(frozen=True)
class Tiered:
    """The marginal price: that of the tier in which the household's next kWh falls.

    homerun's use comes on top of the household's other use, for without homerun the household
    would have used only that. Thresholds are per month and grow with the billing period.
    """

    tiers: tuple[Tier, ...]
    other_kwh_per_month: Decimal
    months: int
    gross: bool = False
    timed: bool = True
    series: None = None

    def part(self, moment: Moment) -> Part | None:
        household = self.other_kwh_per_month * self.months + moment.used_kwh
        for tier in reversed(self.tiers):
            reached = household >= tier.above_kwh * self.months
            if reached and tier.when.holds(moment.local, holiday=moment.holiday):
                return Part(tier.price)
        return None


@dataclass(frozen=True)
class Dynamic:
    """What a market published, or what is expected of it."""

    series: PriceSeries
    gross: bool = False
    timed: bool = False

    def part(self, moment: Moment) -> Part | None:
        slot = self.series.at(moment.utc)
        return None if slot is None else Part(slot.price, slot.source)
