"""What the price services say: bodies of our own, after the documented schemas.

Prices follow a formula, so that a test knows what must come out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

QUARTER, HALF_HOUR, HOUR = timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1)
BERLIN, LONDON = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London")
CHICAGO = ZoneInfo("America/Chicago")


@dataclass
class Asked:
    """One request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


def price(start: datetime) -> Decimal:
    """Money per MWh at a time: negative at noon, dear in the evening, never twice the same."""
    hour = start.hour + start.minute / 60
    base = -35.5 if 11 <= hour < 13 else 180.25 if 17 <= hour < 19 else 60.0
    return Decimal(str(base)) + Decimal(start.day) + Decimal(start.hour * 60 + start.minute) / 1000


def grid(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """The starts of slots in UTC."""
    here, found = start.astimezone(UTC), []
    while here < end.astimezone(UTC):
        found.append(here)
        here += step
    return found


def as_json(value: Any) -> tuple[int, bytes]:
    """An answer; Decimal as the number it is."""
    text = json.dumps(value, default=float)
    return 200, text.encode()


def zulu(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def energy_charts(asked: Asked) -> tuple[int, bytes]:
    start, end = (datetime.fromisoformat(asked.query[key]) for key in ("start", "end"))
    begins = start.replace(tzinfo=BERLIN)
    ends = (end + timedelta(days=1)).replace(tzinfo=BERLIN)
    starts = grid(begins, ends, QUARTER)
    return as_json(
        {
            "license_info": "CC BY 4.0 (creativecommons.org/licenses/by/4.0)",
            "unix_seconds": [round(start.timestamp()) for start in starts],
            "price": [price(start) for start in starts],
            "unit": "EUR / MWh",
            "deprecated": False,
        }
    )


def awattar(asked: Asked) -> tuple[int, bytes]:
    begins, ends = (
        datetime.fromtimestamp(int(asked.query[key]) / 1000, UTC) for key in ("start", "end")
    )
    rows = [
        {
            "start_timestamp": round(start.timestamp() * 1000),
            "end_timestamp": round((start + HOUR).timestamp() * 1000),
            "marketprice": price(start),
            "unit": "Eur/MWh",
        }
        for start in grid(begins, ends, HOUR)
    ]
    return as_json({"object": "list", "data": rows, "url": "/de/v1/marketdata"})


def nordpool(asked: Asked, state: str = "Final") -> tuple[int, bytes]:
    area = asked.query["deliveryArea"]
    begins = datetime.fromisoformat(asked.query["date"]).replace(tzinfo=BERLIN)
    entries = [
        {
            "deliveryStart": zulu(start),
            "deliveryEnd": zulu(start + QUARTER),
            "entryPerArea": {area: price(start)},
        }
        for start in grid(begins, begins + timedelta(days=1), QUARTER)
    ]
    return as_json(
        {
            "deliveryDateCET": asked.query["date"],
            "version": 2,
            "updatedAt": "2026-11-21T11:57:03.1234567Z",
            "deliveryAreas": [area],
            "market": asked.query["market"],
            "multiAreaEntries": entries,
            "blockPriceAggregates": [],
            "currency": asked.query["currency"],
            "exchangeRate": 1,
            "areaStates": [{"state": state, "areas": [area]}],
            "areaAverages": [{"areaCode": area, "price": 47.66}],
        }
    )


def elprisetjustnu(asked: Asked) -> tuple[int, bytes]:
    """With the fault that the real one has when the clocks go back."""
    year, _, month_day = asked.path.removeprefix("/api/v1/prices/").partition("/")
    begins = datetime.fromisoformat(f"{year}-{month_day.partition('_')[0]}").replace(tzinfo=BERLIN)
    rows = []
    for start in grid(begins, begins + timedelta(days=1), QUARTER):
        local = start.astimezone(BERLIN)
        naive_end = (local.replace(tzinfo=None) + QUARTER).replace(tzinfo=BERLIN, fold=1)
        if start.astimezone(BERLIN).utcoffset() == (start + QUARTER).astimezone(BERLIN).utcoffset():
            naive_end = (start + QUARTER).astimezone(BERLIN)
        rows.append(
            {
                "SEK_per_kWh": price(start) / 100,
                "EUR_per_kWh": price(start) / 1000,
                "EXR": 10.0,
                "time_start": local.isoformat(),
                "time_end": naive_end.isoformat(),
            }
        )
    return as_json(rows)


def octopus(asked: Asked, rows_a_page: int = 40) -> tuple[int, bytes]:
    begins, ends = (
        datetime.fromisoformat(asked.query[key]) for key in ("period_from", "period_to")
    )
    starts = grid(begins, ends, HALF_HOUR)[::-1]
    page = int(asked.query.get("page", 1))
    first = (page - 1) * rows_a_page
    more = first + rows_a_page < len(starts)
    query = "&".join(f"{key}={value}" for key, value in asked.query.items() if key != "page")
    rows = [
        {
            "value_exc_vat": price(start) / 10,
            "value_inc_vat": price(start) / 10 * Decimal("1.05"),
            "valid_from": zulu(start),
            "valid_to": zulu(start + HALF_HOUR),
            "payment_method": None,
        }
        for start in starts[first : first + rows_a_page]
    ]
    following = f"http://{asked.headers['Host']}{asked.path}?{query}&page={page + 1}"
    return as_json(
        {
            "count": len(starts),
            "next": following if more else None,
            "previous": None,
            "results": rows,
        }
    )


def comed(asked: Asked) -> tuple[int, bytes]:
    begins, ends = (
        datetime.strptime(asked.query[key], "%Y%m%d%H%M").replace(tzinfo=CHICAGO)
        for key in ("datestart", "dateend")
    )
    starts = grid(begins, ends, timedelta(minutes=5))[::-1]
    return as_json(
        [
            {"millisUTC": str(round(start.timestamp() * 1000)), "price": f"{start.minute / 10:.1f}"}
            for start in starts
        ]
    )


def energi_data_service(asked: Asked) -> tuple[int, bytes]:
    (area,) = json.loads(asked.query["filter"])["PriceArea"]
    begins, ends = (
        datetime.fromisoformat(asked.query[key]).replace(tzinfo=BERLIN) for key in ("start", "end")
    )
    records = [
        {
            "TimeUTC": f"{start:%Y-%m-%dT%H:%M:%S}",
            "TimeDK": f"{start.astimezone(BERLIN):%Y-%m-%dT%H:%M:%S}",
            "PriceArea": area,
            "DayAheadPriceEUR": price(start),
            "DayAheadPriceDKK": price(start) * Decimal("7.46"),
        }
        for start in grid(begins, ends, QUARTER)
    ]
    return as_json({"total": len(records), "dataset": "DayAheadPrices", "records": records})


def tibber(asked: Asked, tomorrow: bool = True, day: str = "2026-11-22") -> tuple[int, bytes]:
    begins = datetime.fromisoformat(day).replace(tzinfo=BERLIN)

    def rows(start: datetime) -> list[dict[str, Any]]:
        return [
            {
                "total": price(slot) / 1000 * Decimal("1.25"),
                "startsAt": slot.astimezone(BERLIN).isoformat(timespec="milliseconds"),
                "currency": "NOK",
            }
            for slot in grid(start, start + timedelta(days=1), QUARTER)
        ]

    info = {
        "today": rows(begins),
        "tomorrow": rows(begins + timedelta(days=1)) if tomorrow else [],
    }
    homes = [
        {"id": "cottage", "currentSubscription": None},
        {"id": "home", "currentSubscription": {"priceInfo": info}},
    ]
    return as_json({"data": {"viewer": {"homes": homes}}})


def home_assistant(asked: Asked) -> tuple[int, bytes]:
    begins = datetime(2026, 11, 22, tzinfo=BERLIN)
    rows = [
        {
            "start": start.astimezone(BERLIN).isoformat(),
            "end": (start + HOUR).astimezone(BERLIN).isoformat(),
            "value": price(start) / 1000,
        }
        for start in grid(begins, begins + timedelta(days=1), HOUR)
    ]
    return as_json(
        {
            "entity_id": asked.path.rpartition("/")[2],
            "state": "0.06",
            "attributes": {
                "unit_of_measurement": "EUR/kWh",
                "raw_today": rows,
                "raw_tomorrow": [],
            },
        }
    )


@dataclass(frozen=True)
class Curve:
    """One series of an ENTSO-E document: (position, price) points from ``start`` to ``end``."""

    start: datetime
    end: datetime
    points: tuple[tuple[int, str], ...]
    resolution: str = "PT15M"
    order: int | None = 1
    kind: str = "A03"
    currency: str = "EUR"


def entsoe_document(*curves: Curve) -> bytes:
    """A Publication_MarketDocument."""
    name = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
    parts = [
        "<?xml version='1.0' encoding='UTF-8'?>",
        f'<Publication_MarketDocument xmlns="{name}">',
    ]
    for number, curve in enumerate(curves, 1):
        order = (
            "<classificationSequence_AttributeInstanceComponent.position>"
            f"{curve.order}</classificationSequence_AttributeInstanceComponent.position>"
            if curve.order
            else ""
        )
        points = "".join(
            f"<Point><position>{position}</position><price.amount>{amount}</price.amount></Point>"
            for position, amount in curve.points
        )
        span = f"<start>{curve.start:%Y-%m-%dT%H:%MZ}</start><end>{curve.end:%Y-%m-%dT%H:%MZ}</end>"
        parts.append(
            f"<TimeSeries><mRID>{number}</mRID>{order}"
            f"<currency_Unit.name>{curve.currency}</currency_Unit.name>"
            "<price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
            f"<curveType>{curve.kind}</curveType>"
            f"<Period><timeInterval>{span}</timeInterval>"
            f"<resolution>{curve.resolution}</resolution>{points}</Period></TimeSeries>"
        )
    parts.append("</Publication_MarketDocument>")
    return "\n".join(parts).encode()


def entsoe_refusal(code: str, text: str) -> bytes:
    """An Acknowledgement_MarketDocument."""
    name = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
    return (
        f'<Acknowledgement_MarketDocument xmlns="{name}"><Reason><code>{code}</code>'
        f"<text>{text}</text></Reason></Acknowledgement_MarketDocument>"
    ).encode()


def entsoe(asked: Asked) -> tuple[int, bytes]:
    """Every slot of the span, in one curve a day, as the real one does."""
    begins, ends = (
        datetime.strptime(asked.query[key], "%Y%m%d%H%M").replace(tzinfo=UTC)
        for key in ("periodStart", "periodEnd")
    )
    points = [
        (position, f"{price(start):.3f}")
        for position, start in enumerate(grid(begins, ends, QUARTER), 1)
    ]
    return 200, entsoe_document(Curve(begins, ends, tuple(points)))
