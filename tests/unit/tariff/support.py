"""What the stories of the tariff are told with."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from orchestrator.tariff.build import tariff_of
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source
from orchestrator.tariff.table import TariffConfig
from orchestrator.tariff.tariff import Tariff

QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


def utc(text: str) -> datetime:
    """``2026-10-25T01:00`` as an aware time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def config(**keys: Any) -> TariffConfig:
    """A [tariff] table in euros in Berlin, unless told otherwise."""
    return TariffConfig.model_validate(
        {"currency": "EUR", "time_zone": "Europe/Berlin", **keys}, context="file"
    )


def tariff(series: PriceSeries | None = None, **keys: Any) -> Tariff:
    """The tariff of such a table."""
    made = tariff_of(config(**keys), series)
    assert made is not None
    return made


def series(
    start: datetime,
    prices: Iterable[float | str],
    step: timedelta = HOUR,
    source: Source = Source.PUBLISHED,
) -> PriceSeries:
    """Prices one after the other."""
    slots = [
        PriceSlot(start + index * step, start + (index + 1) * step, Decimal(str(price)), source)
        for index, price in enumerate(prices)
    ]
    return PriceSeries("EUR", tuple(slots))


def hours_at(slots: Iterable[PriceSlot], price: str) -> float:
    """How many hours cost this much."""
    return sum(slot.seconds for slot in slots if slot.price == Decimal(price)) / 3600
