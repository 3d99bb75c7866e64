"""The Nord Pool data portal: day-ahead prices of the Nordic and other zones, no key.

``GET /api/DayAheadPrices?date=2026-11-22&market=DayAhead&deliveryArea=SE3&currency=EUR``, one
delivery day of Central European time; 204 before the publication. Times are UTC. Prices may be
preliminary first. Undocumented and public, so ask seldom; about two months back.
"""

from __future__ import annotations

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
    series_of_slots,
)
from orchestrator.tariff.slots import PriceSlot
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.units import factor

_BRITISH = ("UK", "GB")


@dataclass(frozen=True)
class NordPool:
    """One delivery area, such as SE3, FI, NO1, DK2, EE, GER, AT."""

    area: str
    currency: str
    url: str = ""
    market: Market = MARKETS["nordpool"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        british = self.area.upper() in _BRITISH
        query = urlencode(
            {
                "date": f"{start.astimezone(zone_of(self.market.zone)):%Y-%m-%d}",
                "market": "N2EX_DayAhead" if british else "DayAhead",
                "deliveryArea": self.area,
                "currency": self.currency,
            }
        )
        host = base_url(self.url, "https://dataportal-api.nordpoolgroup.com")
        return ask_json(http, Request(f"{host}/api/DayAheadPrices?{query}"), self._read)

    def _read(self, plain: Any) -> Published:
        if plain["currency"] != self.currency:
            raise ValueError(f"prices in {plain['currency']} instead of {self.currency}")
        slots = []
        for row in plain["multiAreaEntries"]:
            price = money(row["entryPerArea"].get(self.area), factor("MWh"))
            if price is not None:
                start, end = instant(row["deliveryStart"]), instant(row["deliveryEnd"])
                slots.append(PriceSlot(start, end, price))
        return Published(series_of_slots(self.currency, slots), final=self._final(plain))

    def _final(self, plain: Any) -> bool:
        return all(
            state["state"] == "Final"
            for state in plain.get("areaStates", [])
            if self.area in state["areas"]
        )
