"""A tariff: the sum of its components, VAT included, in UTC slots."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from orchestrator.tariff.billing import Billing
from orchestrator.tariff.components import Component, Moment, Part
from orchestrator.tariff.slots import CERTAINTY, PriceSlot, Source
from orchestrator.tariff.when import QUARTER_MINUTES, When

_QUARTER = timedelta(minutes=QUARTER_MINUTES)
_HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = Decimal(0)


@dataclass(frozen=True)
class Tariff:
    """price = (sum of the net components) * (1 + vat) + sum of the gross ones, per kWh.

    It may be negative and is never clamped. Where a component is missing, so is the price.
    """

    currency: str
    zone: tzinfo
    components: tuple[Component, ...]
    vat: Decimal = _NOTHING
    holidays: When | None = None
    billing: Billing = field(default_factory=Billing)

    def slots(
        self, start: datetime, end: datetime, used_kwh: Decimal = _NOTHING
    ) -> tuple[PriceSlot, ...]:
        """The prices of [start, end), in order; a missing price leaves a gap.

        A slot is never longer than an hour and never crosses a border of what a market published.

        Args:
            start: aware; so is ``end``.
            used_kwh: what homerun uses in the billing period: so far for the ledger, until its
                end for the planner. Every slot is priced at that point of the tiers.
        """
        found: list[PriceSlot] = []
        owner: PriceSlot | None = None
        for begins, ends, within in self._pieces(start.astimezone(UTC), end.astimezone(UTC)):
            price = self._price(begins, used_kwh)
            if price is None:
                continue
            last = found[-1] if found else None
            joins = last is not None and last.end == begins and begins.minute != 0
            if joins and last and owner is within and (last.price, last.source) == price:
                found[-1] = PriceSlot(last.start, ends, *price)
            else:
                found.append(PriceSlot(begins, ends, *price))
            owner = within
        return tuple(found)

    def at(self, moment: datetime, used_kwh: Decimal = _NOTHING) -> PriceSlot | None:
        """The slot that holds ``moment``, from its quarter of an hour on; None: missing."""
        begins = moment - (moment - _EPOCH) % _QUARTER
        slots = self.slots(begins, begins + _HOUR, used_kwh)
        return next((slot for slot in slots if slot.start <= moment < slot.end), None)

    def billing_period(self, moment: datetime) -> tuple[datetime, datetime]:
        """The billing period that holds ``moment``, in UTC."""
        start, end = self.billing.period(moment, self.zone)
        return start.astimezone(UTC), end.astimezone(UTC)

    # --- pieces -----------------------------------------------------------------------------

    def _pieces(
        self, start: datetime, end: datetime
    ) -> Iterator[tuple[datetime, datetime, PriceSlot | None]]:
        """[start, end) cut where any price may change, with the published slot that it lies in."""
        series = next((part.series for part in self.components if part.series), None)
        owners = series.between(start, end) if series else ()
        borders = {start, end}
        borders.update(edge for slot in owners for edge in (slot.start, slot.end))
        # Every border on the wall is converted one by one, by looking at each quarter in UTC.
        step = _QUARTER if any(part.timed for part in self.components) else _HOUR
        here = start - (start - _EPOCH) % step + step
        while here < end:
            borders.add(here)
            here += step
        ordered = sorted(edge for edge in borders if start <= edge <= end)
        for begins, ends in itertools.pairwise(ordered):
            yield begins, ends, series.at(begins) if series else None

    def _price(self, utc: datetime, used_kwh: Decimal) -> tuple[Decimal, Source] | None:
        local = utc.astimezone(self.zone)
        holiday = self.holidays is not None and self.holidays.holds(local, holiday=False)
        moment = Moment(utc, local, holiday, used_kwh)
        net = gross = _NOTHING
        source = Source.FIXED
        for component in self.components:
            part: Part | None = component.part(moment)
            if part is None:
                return None
            if component.gross:
                gross += part.price
            else:
                net += part.price
            source = min(source, part.source, key=CERTAINTY.index)
        return net * (1 + self.vat) + gross, source
