"""Real price series as a home would pay them: read from CSV, adders and VAT on top."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestrator.planning.problem import Slot
from orchestrator.tariff import csv_file
from orchestrator.tariff.forecast import extend
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.markets import Market as Service
from orchestrator.tariff.publication import next_publication, published_until
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Terms:
    """What comes on top of the market's price, and when it publishes."""

    adder: Decimal
    factor: Decimal
    service: Service


_TERMS = {
    # 0.10 EUR of fees and levies, 21 % VAT
    "EUR": Terms(Decimal("0.10"), Decimal("1.21"), MARKETS["energy_charts"]),
    # as billed
    "GBP": Terms(Decimal(0), Decimal(1), MARKETS["octopus"]),
    "USD": Terms(
        Decimal("0.05"),
        Decimal(1),
        Service("csv_file", "ERCOT", (), zone="America/Chicago", publishes=time(13, 30)),
    ),
}


@dataclass(frozen=True)
class Market:
    """One file."""

    name: str
    series: PriceSeries
    service: Service

    @classmethod
    def read(cls, path: Path) -> Market:
        """The file at ``path`` under its currency's terms."""
        series = csv_file.read(path)
        terms = _TERMS[series.currency]
        slots = tuple(
            PriceSlot(slot.start, slot.end, (slot.price + terms.adder) * terms.factor, slot.source)
            for slot in series.slots
        )
        return cls(path.stem, PriceSeries(series.currency, slots), terms.service)

    @property
    def zone(self) -> ZoneInfo:
        """The market's own clock."""
        return ZoneInfo(self.service.zone)

    def next_publication(self, now: datetime) -> datetime:
        """When prices are published next after ``now``."""
        moment = next_publication(self.service, now)
        assert moment is not None, "these markets publish once a day"
        return moment

    def truth(self, start: datetime, end: datetime) -> tuple[Slot, ...]:
        """What was paid in the end; a missing price is guessed from the weeks before it."""
        known = self.series.between(start - 35 * _DAY, end)
        return self._slots(PriceSeries(self.series.currency, known), start, end, whole=True)

    def outlook(self, now: datetime, end: datetime) -> tuple[tuple[Slot, ...], datetime]:
        """What was known at ``now`` with a forecast behind it, and up to where it was known."""
        until = max(now, published_until(self.service, now) or now)
        known = tuple(
            slot for slot in self.series.between(now - 29 * _DAY, until) if slot.end <= until
        )
        return self._slots(PriceSeries(self.series.currency, known), now, end), until

    def _slots(
        self, known: PriceSeries, start: datetime, end: datetime, *, whole: bool = False
    ) -> tuple[Slot, ...]:
        full = extend(known, start, end, self.zone)
        return tuple(
            Slot(slot.start, slot.end, float(slot.price), whole or slot.source is Source.PUBLISHED)
            for slot in full.between(start, end)
        )
