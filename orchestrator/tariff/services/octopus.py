"""Octopus Energy (Great Britain): Agile's half-hours and the rates of its other products, no key.

``GET /v1/products/<product>/electricity-tariffs/E-1R-<product>-<region>/standard-unit-rates/``;
pence per kWh with and without VAT, newest first, 100 rows a page unless asked for more, further
pages by ``next``. A rate of a fixed product has no end, and stands there once per way of paying.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

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
    series_of_slots,
)
from orchestrator.tariff.slots import PriceSlot
from orchestrator.tariff.units import factor

_PAGE_ROWS = 1500
_MOST_PAGES = 20
#: rows for other ways of paying are not this household's
_PAYMENTS = (None, "DIRECT_DEBIT")


@dataclass(frozen=True)
class Octopus:
    """One product in one region, whose letter ends the tariff code."""

    product: str
    area: str
    gross: bool = True
    url: str = ""
    market: Market = MARKETS["octopus"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        slots: dict[datetime, PriceSlot] = {}
        page: str | None = self._first_page(start, end)
        for _ in range(_MOST_PAGES):
            if page is None:
                return Published(series_of_slots("GBP", list(slots.values())))
            rows, page = ask_json(http, Request(page), self._read)
            for begins, ends, price in rows:
                slot = PriceSlot(max(begins, start), min(ends or end, end), price)
                if slot.start < slot.end and slots.setdefault(slot.start, slot) != slot:
                    raise FetchFailed(Trouble.RUBBISH, f"two prices for {slot.start:%FT%H:%MZ}")
        raise FetchFailed(Trouble.RUBBISH, f"more than {_MOST_PAGES} pages")

    def _first_page(self, start: datetime, end: datetime) -> str:
        product, region = quote(self.product, safe=""), quote(self.area.upper(), safe="")
        times = {"period_from": _zulu(start), "period_to": _zulu(end), "page_size": _PAGE_ROWS}
        return (
            f"{self._host}/v1/products/{product}/electricity-tariffs/E-1R-{product}-{region}"
            f"/standard-unit-rates/?{urlencode(times)}"
        )

    def _read(self, plain: Any) -> tuple[list[Any], str | None]:
        rows = []
        for row in plain["results"]:
            key = "value_inc_vat" if self.gross else "value_exc_vat"
            price = money(row[key], factor("0.01/kWh"))
            if price is not None and row.get("payment_method") in _PAYMENTS:
                ends = row["valid_to"]
                rows.append((instant(row["valid_from"]), instant(ends) if ends else None, price))
        following = plain.get("next")
        if following and urlsplit(following).netloc != urlsplit(self._host).netloc:
            raise ValueError("the next page is on another server")
        return rows, following

    @property
    def _host(self) -> str:
        return base_url(self.url, "https://api.octopus.energy")


def _zulu(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
