"""The daemon's prices as the pilot wants them: the tariff, its forecast behind it, no gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from orchestrator.planning.problem import Slot
from orchestrator.tariff.report import PricesView
from orchestrator.tariff.slots import PriceSlot, Source
from orchestrator.tariff.tariff import Tariff

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)


class Keeper(Protocol):
    """What is asked of the keeper of prices."""

    def view(self) -> PricesView:
        """How it stands with the source."""

    def tariff(self, until: datetime) -> Tariff | None:
        """With a forecast up to ``until``."""


class TariffPrices:
    """See ``pilot.Prices``. A fixed tariff is known as far as anybody asks."""

    def __init__(self, keeper: Keeper, far: datetime, used_kwh: Decimal = Decimal(0)) -> None:
        """Prices of ``keeper``.

        Args:
            far: up to here a fixed tariff is asked for: the deadline.
            used_kwh: in the billing period until its end, for tiers: the planner's prices are
                those at the margin.
        """
        self._keeper, self._far, self._used_kwh = keeper, far, used_kwh

    def known_until(self, now: datetime) -> datetime:
        """See ``pilot.Prices.known_until``."""
        view = self._keeper.view()
        if view.configured and not view.service:
            return max(now, self._far)
        if view.known_until is not None:
            return max(now, view.known_until)
        # Where nothing is published ahead, news is what came last: its time only moves with it.
        return _quarter(view.last_success) if view.last_success else _NEVER

    def slots(self, now: datetime, end: datetime) -> tuple[Slot, ...]:
        """See ``pilot.Prices.slots``; empty while no price is known and none can be guessed."""
        tariff = self._keeper.tariff(end)
        found = tariff.slots(now, end, self._used_kwh) if tariff else ()
        return whole(found, now, end)


def _quarter(moment: datetime) -> datetime:
    return moment - (moment - _NEVER) % _QUARTER


def whole(slots: Sequence[PriceSlot], start: datetime, end: datetime) -> tuple[Slot, ...]:
    """[start, end) without gaps; a gap, rare as it is, costs what the slot before it did."""
    found: list[Slot] = []
    here = start
    for slot in slots:
        begins, ends = max(slot.start, here), min(slot.end, end)
        if ends <= begins:
            continue
        price = float(slot.price)
        if begins > here:
            found.append(Slot(here, begins, found[-1].price if found else price, known=False))
        found.append(Slot(begins, ends, price, slot.source is not Source.FORECAST))
        here = ends
    if found and here < end:
        found.append(Slot(here, end, found[-1].price, known=False))
    return tuple(found)
