"""Tibber: the price of one's own home, taxes included, by a personal token.

``POST /v1-beta/gql``; today and tomorrow of the home's own time, tomorrow empty before about
13:00. About 100 requests in 5 minutes are allowed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import (
    FetchFailed,
    Published,
    Trouble,
    ask_json,
    base_url,
    bearer,
    instant,
    money,
    series_of,
)

_PRICES = "{ total startsAt currency }"
_QUERY = (
    "{ viewer { homes { id currentSubscription { priceInfo(resolution: QUARTER_HOURLY) "
    f"{{ today {_PRICES} tomorrow {_PRICES} }} }} }} }} }}"
)


@dataclass(frozen=True)
class Tibber:
    """``area`` is the id of a home; without it the first one that has a subscription."""

    token: str = field(repr=False)
    currency: str
    area: str = ""
    url: str = ""
    market: Market = MARKETS["tibber"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        request = Request(
            f"{base_url(self.url, 'https://api.tibber.com')}/v1-beta/gql",
            "POST",
            {**bearer(self.token), "Content-Type": "application/json"},
            json.dumps({"query": _QUERY}).encode(),
        )
        return ask_json(http, request, self._read)

    def _read(self, plain: Any) -> Published:
        if plain.get("errors"):
            message = str(plain["errors"][0].get("message", ""))[:80]
            raise FetchFailed(Trouble.DENIED, f"it refuses: {message}")
        info = self._home(plain["data"]["viewer"]["homes"])["currentSubscription"]["priceInfo"]
        rows = [*info["today"], *info["tomorrow"]]
        currencies = {row["currency"] for row in rows}
        if currencies - {self.currency}:
            raise ValueError(f"prices in {', '.join(currencies)} instead of {self.currency}")
        prices = [(instant(row["startsAt"]), money(row["total"], Decimal(1))) for row in rows]
        return Published(series_of(self.currency, prices))

    def _home(self, homes: list[Any]) -> Any:
        for home in homes:
            wanted = home["id"] == self.area if self.area else True
            if wanted and home.get("currentSubscription"):
                return home
        what = f"home {self.area}" if self.area else "home"
        raise FetchFailed(Trouble.DENIED, f"no {what} with a subscription under this token")
