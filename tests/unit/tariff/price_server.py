"""A small real HTTP server that speaks as the price services do, faults and all.

Its bodies are written by us after the documented schemas; its prices follow a formula, so that a
test knows what must come out.
"""

from __future__ import annotations

import enum
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

QUARTER, HALF_HOUR, HOUR = timedelta(minutes=15), timedelta(minutes=30), timedelta(hours=1)
BERLIN, LONDON = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/London")
CHICAGO = ZoneInfo("America/Chicago")


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


class Fault(enum.Enum):
    """What goes wrong."""

    NO_CONTENT = "204 before the publication"
    NOT_FOUND = "404 before the publication"
    BUSY = "429 with Retry-After in seconds"
    BUSY_UNTIL = "429 with Retry-After as a date"
    OVERLOADED = "503 with Retry-After"
    FAILED = "502"
    FORBIDDEN = "401"
    BAD_REQUEST = "400"
    CUT_OFF = "fewer bytes than promised"
    CUT_CHUNK = "a chunk that never ends"
    SLOW = "a byte now and then"
    SILENT = "not a byte"
    HUNG_UP = "no answer at all"
    WEB_PAGE = "HTML with status 200"
    NO_JSON = "half of a JSON text"
    OTHER_JSON = "JSON of another form"
    NOT_A_NUMBER = "NaN where a price should be"
    DEEP = "lists in lists in lists"
    COMPRESSED = "gzip, as it should be"
    CUT_GZIP = "half of a gzip"
    NO_GZIP = "says gzip, is none"
    BOMB = "a gzip that grows a thousandfold"
    MOVED = "a redirect to another server"
    MOVED_HERE = "a redirect to the same server"


@dataclass
class Asked:
    """One request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


Speaker = Callable[[Asked], tuple[int, bytes]]


@dataclass
class PriceServer:
    """Answers with what ``speak`` says, spoilt by ``fault``."""

    speak: Speaker = lambda asked: (404, b"")
    fault: Fault | None = None
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def price_server(speak: Speaker | None = None) -> Iterator[PriceServer]:
    """A server that listens while the block runs."""
    server = PriceServer() if speak is None else PriceServer(speak)
    try:
        yield server
    finally:
        server.stop()


def _handler(server: PriceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self._reply()

        def _reply(self) -> None:
            self.close_connection = True
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(parts.path, query, dict(self.headers), body)
            server.asked.append(asked)
            with suppress(BrokenPipeError, ConnectionResetError):
                if server.fault is None or not _spoil(server, self, asked):
                    status, content = server.speak(asked)
                    _send(self, status, content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    return Handler


def _send(
    handler: BaseHTTPRequestHandler, status: int, content: bytes = b"", **headers: str
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _spoil(server: PriceServer, handler: BaseHTTPRequestHandler, asked: Asked) -> bool:
    """Answer with the fault; False: answer as if there was none."""
    fault = server.fault
    plain = {
        Fault.NO_CONTENT: (204, b""),
        Fault.NOT_FOUND: (404, b"<h1>Not Found</h1>"),
        Fault.FAILED: (502, b"<h1>Bad Gateway</h1>"),
        Fault.FORBIDDEN: (401, b'{"error": "invalid token s3cret"}'),
        Fault.BAD_REQUEST: (400, b'{"detail": "no such area"}'),
        Fault.WEB_PAGE: (200, b"<!DOCTYPE html><title>Maintenance</title>"),
        Fault.NO_JSON: (200, b'{"unix_seconds": [1764716400, 17647'),
        Fault.OTHER_JSON: (200, b'{"message": "hello", "data": {"prices": "none"}}'),
        Fault.NOT_A_NUMBER: (200, b'{"unix_seconds": [1764716400], "price": [NaN], "unit": "x"}'),
        Fault.DEEP: (200, b"[" * 200_000),
    }
    busy = {
        Fault.BUSY: (429, {"Retry_After": "120"}),
        Fault.BUSY_UNTIL: (429, {"Retry_After": _http_date(handler, 90)}),
        Fault.OVERLOADED: (503, {"Retry_After": "600"}),
    }
    if fault in plain:
        _send(handler, *plain[fault])
    elif fault in busy:
        status, headers = busy[fault]
        _send(handler, status, b"slow down", **headers)
    elif fault is Fault.MOVED:
        _send(handler, 301, Location="http://localhost:9/elsewhere")
    elif fault is Fault.MOVED_HERE and "moved" not in asked.query:
        _send(handler, 302, Location=f"{handler.path}&moved=1")
    elif fault is Fault.HUNG_UP:
        pass
    elif fault is Fault.SILENT:
        server.stopping.wait(30)
    elif fault in (Fault.COMPRESSED, Fault.CUT_GZIP, Fault.NO_GZIP, Fault.BOMB):
        _compressed(server, handler, asked)
    elif fault in (Fault.CUT_OFF, Fault.CUT_CHUNK, Fault.SLOW):
        _cut(server, handler, server.speak(asked)[1])
    else:
        return False
    return True


def _compressed(server: PriceServer, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    body = server.speak(asked)[1]
    packed = {
        Fault.COMPRESSED: gzip.compress(body),
        Fault.CUT_GZIP: gzip.compress(body)[:-20],
        Fault.NO_GZIP: body,
        Fault.BOMB: gzip.compress(b"[" + b" " * 40_000_000 + b"]"),
    }
    assert server.fault is not None
    _send(handler, 200, packed[server.fault], Content_Encoding="gzip")


def _cut(server: PriceServer, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    if server.fault is Fault.CUT_CHUNK:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n" % len(body) + body[: len(body) // 2])
        return
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if server.fault is Fault.CUT_OFF:
        handler.wfile.write(body[: len(body) // 2])
        return
    for byte in body:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if server.stopping.wait(0.02):
            return


def _http_date(handler: BaseHTTPRequestHandler, ahead_seconds: int) -> str:
    return handler.date_time_string(
        int(datetime.now(UTC).timestamp()) + ahead_seconds  # noqa: TID251 - a server's own clock
    )


# --- what each service says -----------------------------------------------------------------


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
