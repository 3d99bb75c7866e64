"""ComEd hourly pricing (northern Illinois): five-minute prices as they come, no key.

``GET /api?type=5minutefeed&datestart=202611220000&dateend=202611222359&format=json`` in Chicago's
time; cents per kWh and milliseconds as texts, newest first. What is billed is the mean of an
hour's twelve, so an hour has a price when it has passed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
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
    series_of_slots,
)
from orchestrator.tariff.slots import PriceSlot
from orchestrator.tariff.timezone import zone_of
from orchestrator.tariff.units import factor

_PER_HOUR = 12
#: an hour that has passed with fewer prices than this has no price that can be trusted
_ENOUGH = 6


@dataclass(frozen=True)
class ComEd:
    """The one zone that there is."""

    url: str = ""
    market: Market = MARKETS["comed"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        zone = zone_of(self.market.zone)
        last = end - timedelta(minutes=1)
        times = (
            f"datestart={start.astimezone(zone):%Y%m%d%H%M}"
            f"&dateend={last.astimezone(zone):%Y%m%d%H%M}"
        )
        host = base_url(self.url, "https://hourlypricing.comed.com")
        request = Request(f"{host}/api?type=5minutefeed&{times}&format=json")
        return ask_json(http, request, self._read)

    def _read(self, plain: Any) -> Published:
        hours: dict[datetime, dict[datetime, Decimal]] = defaultdict(dict)
        for row in plain:
            moment = instant(row["millisUTC"])
            price = money(row["price"], factor("0.01/kWh"))
            if price is not None:
                hours[moment.replace(minute=0, second=0, microsecond=0)][moment] = price
        newest = max(hours, default=None)
        slots = [
            PriceSlot(hour, hour + timedelta(hours=1), _mean(prices.values()))
            for hour, prices in hours.items()
            if len(prices) >= (_PER_HOUR if hour == newest else _ENOUGH)
        ]
        return Published(series_of_slots("USD", slots))


def _mean(prices: Collection[Decimal]) -> Decimal:
    return sum(prices, Decimal(0)) / len(prices)
