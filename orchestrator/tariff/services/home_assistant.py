"""A sensor of Home Assistant that carries prices in its attributes.

``GET /api/states/<entity>`` with a long-lived token. Understood are ``raw_today`` and
``raw_tomorrow`` (start, end, value: the nordpool integration and those that follow it) and
``data`` (start_time, end_time, price_per_kwh: EPEX Spot). The unit is that of the sensor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

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
    series_of_slots,
)
from orchestrator.tariff.slots import PriceSlot

#: hundredths of a currency, as sensors write them
_CENTS = ("c", "ct", "cent", "cents", "p", "öre", "øre", "ore", "gr", "¢")
_UNIT = re.compile(r"(?P<money>[^/\s]+)\s*/\s*(?P<energy>kwh|mwh)", re.IGNORECASE)


@dataclass(frozen=True)
class HomeAssistant:
    """One sensor."""

    url: str
    entity: str
    token: str = field(repr=False)
    currency: str
    market: Market = MARKETS["home_assistant"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        address = f"{base_url(self.url, '')}/api/states/{quote(self.entity, safe='.')}"
        return ask_json(http, Request(address, headers=bearer(self.token)), self._read)

    def _read(self, plain: Any) -> Published:
        if plain["state"] in ("unavailable", "unknown"):
            raise FetchFailed(Trouble.BROKEN, f"the sensor is {plain['state']}")
        attributes = plain["attributes"]
        scale = self._scale(attributes)
        rows = [
            (row["start"], row["end"], row["value"])
            for key in ("raw_today", "raw_tomorrow")
            for row in attributes.get(key) or []
        ]
        rows += [
            (row["start_time"], row["end_time"], row["price_per_kwh"])
            for row in attributes.get("data") or []
        ]
        if not rows and "raw_today" not in attributes and "data" not in attributes:
            raise ValueError("the sensor has neither raw_today nor data")
        slots = [
            PriceSlot(instant(start), instant(end), price)
            for start, end, value in rows
            if (price := money(value, scale)) is not None
        ]
        return Published(series_of_slots(self.currency, slots))

    def _scale(self, attributes: Any) -> Decimal:
        text = str(attributes.get("unit_of_measurement", ""))
        match = _UNIT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"unit {text[:20]!r} instead of {self.currency}/kWh")
        energy = Decimal(1) if match["energy"].lower() == "kwh" else Decimal("0.001")
        name = match["money"]
        if name.lower() in _CENTS or attributes.get("price_in_cents") is True:
            return energy / 100
        if name.isascii() and name.isalpha() and len(name) == 3 and name.upper() != self.currency:
            raise ValueError(f"prices in {name} instead of {self.currency}")
        return energy
