"""elprisetjustnu.se (Sweden) and hvakosterstrommen.no (Norway): the same form, no key.

``GET /api/v1/prices/2026/11-22_SE3.json``, one local day; 404 before the publication. On the day
that the clocks go back the slots of the repeated hour end an hour too late, so only their starts
are believed. The Swedish service asks for a link to it: https://www.elprisetjustnu.se.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import (
    Published,
    ask_json,
    base_url,
    instant,
    money,
    series_of,
)
from orchestrator.tariff.timezone import zone_of

_SWEDEN, _NORWAY = "https://www.elprisetjustnu.se", "https://www.hvakosterstrommen.no"


@dataclass(frozen=True)
class Elprisetjustnu:
    """SE1 to SE4, or NO1 to NO5."""

    area: str
    currency: str
    url: str = ""
    market: Market = MARKETS["elprisetjustnu"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        host = base_url(self.url, _NORWAY if self.area.upper().startswith("NO") else _SWEDEN)
        day = start.astimezone(zone_of(self.market.zone))
        path = f"/api/v1/prices/{day:%Y/%m-%d}_{self.area.upper()}.json"
        return ask_json(http, Request(host + path), self._read)

    def _read(self, plain: Any) -> Published:
        key = f"{self.currency}_per_kWh"
        prices = [(instant(row["time_start"]), money(row[key], Decimal(1))) for row in plain]
        return Published(series_of(self.currency, prices))
