"""From the [tariff] table to a tariff."""

from __future__ import annotations

from datetime import UTC

from orchestrator.tariff.billing import Billing
from orchestrator.tariff.components import Component, Dynamic, Flat, Tier, Tiered, TimeOfUse, Zone
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.slots import PriceSeries
from orchestrator.tariff.table import TariffConfig
from orchestrator.tariff.tariff import Tariff
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.when import When


def tariff_of(config: TariffConfig, series: PriceSeries | None = None) -> Tariff | None:
    """The tariff of a configuration; None when it says nothing about what electricity costs.

    Args:
        series: the prices of ``config.service``, with or without a forecast behind them. A tariff
            with a service and without a series has no prices.
    """
    if not config.configured:
        return None
    return Tariff(
        currency=config.currency,
        zone=zone_of(config.time_zone) if config.time_zone else UTC,
        components=tuple(_components(config, series)),
        vat=config.vat,
        holidays=When.parse("", "", "", config.holidays) if config.holidays else None,
        billing=Billing(config.billing_day, config.billing_months, config.billing_first_month),
    )


def carries_vat(config: TariffConfig) -> bool:
    """Whether the prices of the configured service carry VAT already."""
    if config.price_includes_vat is not None:
        return config.price_includes_vat
    return MARKETS[config.service].gross


def _components(config: TariffConfig, series: PriceSeries | None) -> list[Component]:
    found: list[Component] = []
    if config.zones:
        zones = tuple(Zone(zone.when, zone.price_per_kwh, zone.name) for zone in config.zones)
        found.append(TimeOfUse(zones, config.price_per_kwh))
    elif config.price_per_kwh is not None:
        found.append(Flat("price", config.price_per_kwh))
    if config.tiers:
        tiers = tuple(Tier(tier.above_kwh, tier.when, tier.price_per_kwh) for tier in config.tiers)
        found.append(Tiered(tiers, config.other_kwh_per_month, config.billing_months))
    if config.service:
        known = series or PriceSeries(config.currency, ())
        found.append(Dynamic(known, gross=carries_vat(config)))
    found += [Flat(name, price) for name, price in config.adders.items()]
    return found
