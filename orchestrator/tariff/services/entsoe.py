"""The ENTSO-E transparency platform: day-ahead prices of all of Europe, by a token.

``GET /api?securityToken=..&documentType=A44&in_Domain=..&out_Domain=..`` with ``periodStart`` and
``periodEnd`` in UTC as yyyymmddHHMM; XML. 400 requests a minute, then a ban of 10 minutes.

Traps of its curves: in type A03 a missing position repeats the previous price, so the number of
slots follows from the interval alone; several series may cover one day, and the lowest position
counts.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from orchestrator.tariff.http import Http, Request
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.services.base import (
    FetchFailed,
    Published,
    Trouble,
    ask,
    base_url,
    instant,
    series_of_slots,
    understood,
)
from orchestrator.tariff.slots import PriceSlot
from orchestrator.tariff.units import factor, number

#: EIC codes of bidding zones, for the names that other services use; any code works as it is
AREAS = {
    "DE-LU": "10Y1001A1001A82H",
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "CZ": "10YCZ-CEPS-----N",
    "NL": "10YNL----------L",
    "SE3": "10Y1001A1001A46L",
    "FI": "10YFI-1--------U",
}
_NO_DATA = "999"
#: all resolutions are multiples of it
_MARK = timedelta(minutes=5)
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?")


@dataclass(frozen=True)
class EntsoE:
    """One bidding zone, by its EIC code or a name in AREAS."""

    area: str
    token: str = field(repr=False)
    url: str = ""
    market: Market = MARKETS["entsoe"]

    def fetch(self, http: Http, start: datetime, end: datetime) -> Published:
        code = AREAS.get(self.area.upper(), self.area)
        query = urlencode(
            {
                "securityToken": self.token,
                "documentType": "A44",
                "in_Domain": code,
                "out_Domain": code,
                "periodStart": f"{start.astimezone(UTC):%Y%m%d%H%M}",
                "periodEnd": f"{end.astimezone(UTC):%Y%m%d%H%M}",
            }
        )
        host = base_url(self.url, "https://web-api.tp.entsoe.eu")
        reply = ask(http, Request(f"{host}/api?{query}"))
        return understood(lambda: _read(reply.body))


@dataclass(frozen=True)
class _Curve:
    """One period of one series."""

    position: int
    step: timedelta
    slots: tuple[PriceSlot, ...]


def _read(body: bytes) -> Published:
    root = _parsed(body)
    if root.tag == "Acknowledgement_MarketDocument":
        code, text = root.findtext("Reason/code", ""), root.findtext("Reason/text", "")
        trouble = Trouble.NOT_YET if code == _NO_DATA else Trouble.DENIED
        raise FetchFailed(trouble, f"it says {code}: {text[:80]}")
    if root.tag != "Publication_MarketDocument":
        raise ValueError(f"a document of type {root.tag[:40]}")
    curves = [curve for series in root.iter("TimeSeries") for curve in _curves(series)]
    # the lowest position counts, and of equals the finer one; later ones only fill what is left
    taken: dict[datetime, PriceSlot] = {}
    for curve in sorted(curves, key=lambda curve: (curve.position, curve.step)):
        for slot in curve.slots:
            marks = list(_marks(slot))
            if not any(mark in taken for mark in marks):
                taken.update(dict.fromkeys(marks, slot))
    return Published(series_of_slots("EUR", list(dict.fromkeys(taken.values()))))


def _parsed(body: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise ValueError("a document with entities, which prices never need")
    try:
        # without entities there is nothing that could grow
        root = ElementTree.fromstring(body)  # noqa: S314
    except ElementTree.ParseError:
        raise FetchFailed(Trouble.RUBBISH, "it answered no XML") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _curves(series: ElementTree.Element) -> Iterator[_Curve]:
    currency = series.findtext("currency_Unit.name", "EUR")
    unit = series.findtext("price_Measure_Unit.name", "MWH")
    if (currency, unit) != ("EUR", "MWH"):
        raise ValueError(f"{currency}/{unit} instead of EUR/MWH")
    repeats = series.findtext("curveType", "A03") == "A03"
    position = series.findtext("classificationSequence_AttributeInstanceComponent.position", "1")
    for period in series.iter("Period"):
        step = _duration(_text(period, "resolution"))
        yield _Curve(int(position), step, tuple(_slots(period, step, repeats=repeats)))


def _slots(period: ElementTree.Element, step: timedelta, *, repeats: bool) -> Iterator[PriceSlot]:
    start = instant(_text(period, "timeInterval/start"))
    end = instant(_text(period, "timeInterval/end"))
    prices: dict[int, Decimal] = {}
    for point in period.iter("Point"):
        position = int(_text(point, "position"))
        price = number(_text(point, "price.amount")) * factor("MWh")
        if prices.setdefault(position, price) != price:
            raise ValueError(f"two prices at position {position}")
    count = (end - start) // step
    if prices and not 1 <= min(prices) <= max(prices) <= count:
        raise ValueError(f"position {max(prices)} of {count}")
    last: Decimal | None = None
    for position in range(1, count + 1):
        last = prices.get(position, last if repeats else None)
        if last is not None:
            begins = start + (position - 1) * step
            yield PriceSlot(begins, begins + step, last)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    span = timedelta(hours=int(match[1] or 0), minutes=int(match[2] or 0)) if match else None
    if not span:
        raise ValueError(f"resolution {text[:20]!r}")
    return span


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise ValueError(f"no {path}")
    return found.strip()


def _marks(slot: PriceSlot) -> Iterator[datetime]:
    """What two slots share when they overlap."""
    here = slot.start
    while here < slot.end:
        yield here
        here += _MARK
