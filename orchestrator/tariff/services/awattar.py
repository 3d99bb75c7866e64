"""aWATTar: hourly day-ahead prices of Germany and Austria, no key, 100 requests a day.

``GET /v1/marketdata?start=<ms>&end=<ms>``; EUR/MWh before VAT.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import (
    FetchFailed,
    Published,
    Trouble,
    ask_json,
    base_url,
    instant,
    money,
    require_unit,
    series_of_slots,
)
from orchestrator.tariff.slots import PriceSlot
from orchestrator.tariff.units import factor

_HOSTS = {"DE": "https://api.awattar.de", "AT": "https://api.awattar.at"}


@dataclass(frozen=True)
class Awattar:
    """DE or AT."""

    area: str
    url: str = ""
    market: Market = MARKETS["awattar"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        host = self.url or _HOSTS.get(self.area.upper(), "")
        if not host:
            raise FetchFailed(Trouble.DENIED, f"no area {self.area!r}; it knows DE and AT")
        times = f"start={_milliseconds(start)}&end={_milliseconds(end)}"
        request = Request(f"{base_url(host, '')}/v1/marketdata?{times}")
        return ask_json(http, request, self._read)

    def _read(self, plain: Any) -> Published:
        slots = []
        for row in plain["data"]:
            require_unit(row["unit"], "eur/mwh")
            price = money(row["marketprice"], factor("MWh"))
            if price is not None:
                start, end = instant(row["start_timestamp"]), instant(row["end_timestamp"])
                slots.append(PriceSlot(start, end, price))
        return Published(series_of_slots("EUR", slots))


def _milliseconds(moment: datetime) -> int:
    return round(moment.astimezone(UTC).timestamp() * 1000)
