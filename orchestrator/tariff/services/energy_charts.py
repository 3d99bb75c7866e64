"""Energy-Charts of Fraunhofer ISE: day-ahead prices of most European bidding zones, no key.

``GET /price?bzn=DE-LU&start=2026-11-22&end=2026-11-23``, both days included and days of the zone's
own clock, while the auction sells days of Central European time. Quarter-hours since 2025-10-01,
hours before; always EUR/MWh. Data of Bundesnetzagentur | SMARD.de under CC BY 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import (
    Published,
    ask_json,
    base_url,
    instant,
    money,
    require_unit,
    series_of,
)
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.units import factor

#: zones an hour ahead of Central European time
_EASTERN = ("BG", "EE", "FI", "GR", "LT", "LV", "RO")


@dataclass(frozen=True)
class EnergyCharts:
    """One bidding zone, such as DE-LU, AT, NL, SE3."""

    area: str
    url: str = ""
    market: Market = MARKETS["energy_charts"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        zone = zone_of(self.market.zone)
        last = end.astimezone(zone) - timedelta(minutes=1)
        if self.area.upper() in _EASTERN:
            # the auction's day ends an hour into their next one
            last += timedelta(days=1)
        days = {"start": f"{start.astimezone(zone):%Y-%m-%d}", "end": f"{last:%Y-%m-%d}"}
        query = urlencode({"bzn": self.area, **days})
        request = Request(f"{base_url(self.url, 'https://api.energy-charts.info')}/price?{query}")
        return ask_json(http, request, self._read)

    def _read(self, plain: Any) -> Published:
        require_unit(plain["unit"], "eur/mwh")
        starts = [instant(second) for second in plain["unix_seconds"]]
        prices = [money(price, factor("MWh")) for price in plain["price"]]
        return Published(series_of("EUR", zip(starts, prices, strict=True)))
