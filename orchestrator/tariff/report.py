"""What the prices are, for people and programs: slots, and how it stands with their source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.tariff.build import tariff_of
from orchestrator.tariff.fetching import Standing
from orchestrator.tariff.forecast import extend
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.publication import published_until
from orchestrator.tariff.services.base import Trouble
from orchestrator.tariff.slots import PriceSeries, PriceSlot
from orchestrator.tariff.table import TariffConfig
from orchestrator.tariff.tariff import Tariff
from orchestrator.tariff.timezone import zone_of

#: the shortest price picture that is worth a look, and the longest
LEAST_HOURS, MOST_HOURS = 1, 24 * 14

_UNTIL_THEN = "until then the forecast counts"
_FIXES = {
    Trouble.NOT_YET: f"nothing to do: it is asked again; {_UNTIL_THEN}",
    Trouble.BUSY: f"nothing to do: it is asked less often; {_UNTIL_THEN}",
    Trouble.BROKEN: f"see whether this machine reaches the internet; {_UNTIL_THEN}",
    Trouble.RUBBISH: f"see what the service publishes; the old prices stay, and {_UNTIL_THEN}",
    Trouble.DENIED: "check area, product, url and token_file in [tariff]",
}


@dataclass(frozen=True)
class PricesView:
    """How it stands with the source of the prices. None means unknown or never."""

    configured: bool
    currency: str
    #: the service's key in [tariff]; empty: the prices are fixed
    service: str
    title: str
    #: how far published prices reach without a gap
    known_until: datetime | None
    #: how far they should reach by the market's usual time
    expected_until: datetime | None
    last_try: datetime | None
    last_success: datetime | None
    next_try: datetime | None
    failures: int
    #: not_yet, busy, broken, rubbish, denied; empty: none
    trouble: str
    reason: str
    fix: str
    #: whether it is more than a hiccup
    failing: bool


@dataclass(frozen=True)
class PricesReport:
    """The prices of the next hours. Where no slot is, the price is missing."""

    time: datetime
    start: datetime
    end: datetime
    unit: str
    slots: tuple[PriceSlot, ...]
    source: PricesView


def view_of(
    config: TariffConfig, known: PriceSeries, standing: Standing | None, now: datetime
) -> PricesView:
    """The view of one configuration; ``standing`` None where nothing is ever asked."""
    market = MARKETS.get(config.service)
    trouble = standing.trouble if standing else None
    return PricesView(
        configured=config.configured,
        currency=config.currency,
        service=config.service,
        title=market.title if market else "",
        known_until=_reach(known, now) if market else None,
        expected_until=published_until(market, now) if market else None,
        last_try=standing.last_try if standing else None,
        last_success=standing.last_success if standing else None,
        next_try=standing.next_try if standing else None,
        failures=standing.failures if standing else 0,
        trouble=trouble.value if trouble else "",
        reason=standing.reason if standing else "",
        fix=_FIXES[trouble] if trouble else "",
        failing=bool(standing and standing.worth_telling),
    )


def tariff_until(
    config: TariffConfig, known: PriceSeries, now: datetime, until: datetime
) -> Tariff | None:
    """The tariff with published prices, and a forecast from ``now`` to ``until`` behind them."""
    if not config.service:
        return tariff_of(config)
    market = MARKETS[config.service]
    own = market.service in ("generic_json", "csv_file", "home_assistant", "tibber")
    zone = zone_of(config.time_zone if own and config.time_zone else market.zone)
    start = now.replace(minute=0, second=0, microsecond=0)
    return tariff_of(config, extend(known, start, until, zone))


def report(
    config: TariffConfig,
    known: PriceSeries,
    standing: Standing | None,
    now: datetime,
    hours: int,
    used_kwh: Decimal = Decimal(0),
) -> PricesReport:
    """The next ``hours`` from the full hour that holds ``now`` on.

    Args:
        used_kwh: homerun's own use in the billing period, which may decide the tier.
    """
    start = now.replace(minute=0, second=0, microsecond=0)
    end = start + timedelta(hours=hours)
    tariff = tariff_until(config, known, now, end)
    return PricesReport(
        time=now,
        start=start,
        end=end,
        unit=f"{config.currency}/kWh" if config.currency else "",
        slots=tariff.slots(start, end, used_kwh) if tariff else (),
        source=view_of(config, known, standing, now),
    )


def _reach(known: PriceSeries, now: datetime) -> datetime | None:
    """The end of the published prices that follow each other without a gap from ``now`` on."""
    slot = known.at(now)
    if slot is None:
        return None
    return next((start for start, _ in known.gaps(now, known.slots[-1].end)), known.slots[-1].end)
