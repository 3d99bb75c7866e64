"""Any JSON answer, told by paths where its prices stand: every country without code.

A path is names joined by dots; ``[]`` goes through every element of a list and ``[3]`` takes one.
Either ``items`` names a list and the other paths count from its elements, or each path names a
list of its own and these stand side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote

from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import (
    Published,
    ask_json,
    bearer,
    instant,
    money,
    series_of,
    series_of_slots,
)
from orchestrator.tariff.slots import PriceSlot
from orchestrator.tariff.table import PathsConfig
from orchestrator.tariff.units import factor

_STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")


@dataclass(frozen=True)
class GenericJson:
    """One address."""

    url: str
    paths: PathsConfig
    currency: str
    #: of times that name no offset
    zone: tzinfo
    token: str = field(default="", repr=False)
    market: Market = MARKETS["generic_json"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        # shown once: in the address where that asks for it, or else in the header
        in_address = "{token}" in self.url
        headers = bearer(self.token) if self.token and not in_address else {}
        return ask_json(http, Request(self._address(start, end), headers=headers), self._read)

    def _address(self, start: datetime, end: datetime) -> str:
        last = end.astimezone(self.zone) - timedelta(minutes=1)
        words = {
            "{start}": f"{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "{end}": f"{end.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "{start_ms}": str(round(start.timestamp() * 1000)),
            "{end_ms}": str(round(end.timestamp() * 1000)),
            "{start_date}": f"{start.astimezone(self.zone):%Y-%m-%d}",
            "{end_date}": f"{last:%Y-%m-%d}",
            "{token}": quote(self.token, safe=""),
        }
        address = self.url
        for word, value in words.items():
            address = address.replace(word, value)
        return address

    def _read(self, plain: Any) -> Published:
        paths = self.paths
        if paths.items:
            rows = list(at_path(plain, paths.items))
            columns = [[_only(row, path) for row in rows] for path in (paths.start, paths.price)]
            ends = [_only(row, paths.end) for row in rows] if paths.end else []
        else:
            columns = [list(at_path(plain, path)) for path in (paths.start, paths.price)]
            ends = list(at_path(plain, paths.end)) if paths.end else []
        starts = [self._moment(value) for value in columns[0]]
        prices = [money(value, factor(paths.unit)) for value in columns[1]]
        if not ends:
            return Published(series_of(self.currency, zip(starts, prices, strict=True)))
        slots = [
            PriceSlot(start, self._moment(end), price)
            for start, end, price in zip(starts, ends, prices, strict=True)
            if price is not None
        ]
        return Published(series_of_slots(self.currency, slots))

    def _moment(self, value: Any) -> datetime:
        if isinstance(value, str) and not value.strip().isdigit():
            naive = datetime.fromisoformat(value.strip())
            if naive.tzinfo is None:
                return naive.replace(tzinfo=self.zone).astimezone(UTC)
        return instant(value)


def at_path(plain: Any, path: str) -> Iterator[Any]:
    """Everything that the path leads to. Raises KeyError, IndexError, TypeError, ValueError."""
    found = [plain]
    for name, index in _steps(path):
        if name:
            found = [value[name] for value in found]
        elif index:
            found = [value[int(index)] for value in found]
        else:
            found = [element for value in found for element in _elements(value)]
    yield from found


def _steps(path: str) -> list[tuple[str, str]]:
    if _STEP.sub("", path).strip("."):
        raise ValueError(f"no path: {path!r}")
    return [(match[1] or "", match[2] or "") for match in _STEP.finditer(path)]


def _elements(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("[] stands where there is no list")
    return value


def _only(row: Any, path: str) -> Any:
    (value,) = at_path(row, path)
    return value
