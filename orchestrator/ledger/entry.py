"""The rows of the ledger. Energy is whole microjoules and money is Decimal, so that sums are exact.

A kWh is 3.6e12 microjoules; a card's counter counts in thousands of them, a processor's in ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

MICROJOULES_PER_KWH = 3_600_000_000_000
#: a trillionth of any currency: the thirds of a division end somewhere
_MONEY_STEP = Decimal("1e-12")
#: no row is longer, however slow the tick
LONGEST = timedelta(hours=1)
#: certainties that a published price replaces
UNSETTLED = ("", "forecast")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Energy over [start, end), both in UTC, from one source, for one run or for none."""

    run: str | None
    start: datetime
    end: datetime
    microjoules: int
    #: nvml, rapl, plug, nut, estimated
    source: str
    #: False: a model's word, not a meter's
    measured: bool
    #: trained meanwhile, counted when their step was done
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rating:
    """What a kWh cost then. A price of None is unknown, which is not zero."""

    price: Decimal | None = None
    currency: str = ""
    #: published, forecast or fixed; empty: unknown
    certainty: str = ""
    #: digest of the [tariff] table that it is from; empty: there was none
    tariff: str = ""


UNRATED = Rating()


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: energy inside one price slot, with its newest rating."""

    run: str | None
    start: datetime
    end: datetime
    microjoules: int
    source: str
    measured: bool
    tokens: int
    rating: Rating
    #: None while the price is unknown
    cost: Decimal | None
    #: 0 is the rating that it was written with; each correction is one more
    revision: int = 0
    id: int = 0

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.end - self.start).total_seconds()


def kwh(microjoules: int) -> Decimal:
    """The unit that people are billed in."""
    return Decimal(microjoules) / MICROJOULES_PER_KWH


def cost_of(microjoules: int, price: Decimal | None) -> Decimal | None:
    """Money for energy at a price per kWh; None where the price is unknown."""
    if price is None:
        return None
    return (price * microjoules / MICROJOULES_PER_KWH).quantize(_MONEY_STEP)
