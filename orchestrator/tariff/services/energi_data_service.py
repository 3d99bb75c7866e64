"""Energi Data Service of Energinet (Denmark and neighbours): day-ahead prices, no key.

``GET /dataset/DayAheadPrices?start=2026-11-22T00:00&end=2026-11-24T00:00&filter={"PriceArea":
["DK1"]}``: start and end in Danish time, ``TimeUTC`` in UTC without saying so; DKK and EUR per
MWh. Answers 429 to who asks too often.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
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
    series_of,
)
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.units import factor


@dataclass(frozen=True)
class EnergiDataService:
    """One price area, such as DK1 or DK2."""

    area: str
    currency: str
    url: str = ""
    market: Market = MARKETS["energi_data_service"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        zone = zone_of(self.market.zone)
        query = urlencode(
            {
                "start": f"{start.astimezone(zone):%Y-%m-%dT%H:%M}",
                "end": f"{end.astimezone(zone):%Y-%m-%dT%H:%M}",
                "filter": json.dumps({"PriceArea": [self.area]}, separators=(",", ":")),
                "sort": "TimeUTC asc",
                "limit": 0,
            }
        )
        host = base_url(self.url, "https://api.energidataservice.dk")
        return ask_json(http, Request(f"{host}/dataset/DayAheadPrices?{query}"), self._read)

    def _read(self, plain: Any) -> Published:
        key = f"DayAheadPrice{self.currency}"
        prices = [
            (instant(row["TimeUTC"] + "Z"), money(row[key], factor("MWh")))
            for row in plain["records"]
            if row["PriceArea"] == self.area
        ]
        return Published(series_of(self.currency, prices))
