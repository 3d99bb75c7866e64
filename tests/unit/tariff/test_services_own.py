"""Sources without a service of their own: JSON by paths, Home Assistant, a file."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tariff.http import RealHttp
from orchestrator.tariff.services import PriceService
from orchestrator.tariff.services.base import FetchFailed, Trouble
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff.asking import AUTUMN, BERLIN, DAY_END, DAY_START, service
from tests.unit.tariff.price_bodies import price
from tests.unit.tariff.price_server import PriceServer
from tests.unit.tariff.support import HOUR, utc

ROWS = {
    "data": {
        "list": [
            {"at": {"from": "2026-11-22T00:00:00+01:00"}, "to": 1763767800, "cents": 25.5},
            {"at": {"from": "2026-11-22T00:30:00+01:00"}, "to": 1763769600, "cents": None},
            {"at": {"from": "2026-11-22T01:00:00+01:00"}, "to": 1763771400, "cents": "-3"},
        ]
    }
}


def json_source(
    server: PriceServer, query: str = "", token_file: str = "", **paths: str
) -> PriceService:
    return service(
        server,
        "generic_json",
        url=server.url + "/prices" + query,
        time_zone="Europe/Berlin",
        token_file=token_file,
        paths=paths,
    )


def test_a_list_of_records_is_read_by_paths(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: say.as_json(ROWS)
    made = json_source(server, items="data.list[]", start="at.from", price="cents", unit="0.01/kWh")
    slots = made.fetch(http, DAY_START, DAY_END).series.slots
    assert [(slot.start, slot.price) for slot in slots] == [
        (DAY_START, Decimal("0.255")),
        (DAY_START + HOUR, Decimal("-0.03")),
    ]
    assert {slot.seconds for slot in slots} == {1800}


def test_lists_side_by_side_are_read_by_paths(server: PriceServer, http: RealHttp) -> None:
    server.speak = say.energy_charts
    query = "?start={start_date}&end={end_date}"
    made = json_source(server, query, start="unix_seconds[]", price="price[]", unit="MWh")
    slots = made.fetch(http, *AUTUMN).series.slots
    assert len(slots) == 100
    assert slots[0].price == price(AUTUMN[0]) / 1000
    assert server.asked[0].query == {"start": "2026-10-25", "end": "2026-10-25"}


def test_an_address_can_ask_for_any_form_of_time(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: say.as_json({"t": [1763766000000], "p": [1]})
    made = json_source(
        server, "?a={start}&b={end}&c={start_ms}&d={end_ms}", start="t[]", price="p[]"
    )
    (slot,) = made.fetch(http, DAY_START, DAY_END).series.slots
    assert slot.start == datetime.fromtimestamp(1763766000, BERLIN)
    assert server.asked[0].query == {
        "a": "2026-11-21T23:00:00Z",
        "b": "2026-11-22T23:00:00Z",
        "c": "1795302000000",
        "d": "1795388400000",
    }


@pytest.mark.parametrize(
    ("query", "header", "key"),
    [("", "Bearer s3cret", None), ("?key={token}", None, "s3cret")],
)
def test_a_token_is_shown_once_and_never_stands_in_the_file(
    server: PriceServer,
    http: RealHttp,
    token_file: str,
    query: str,
    header: str | None,
    key: str | None,
) -> None:
    server.speak = lambda asked: say.as_json({"t": [1763766000], "p": [1]})
    made = json_source(server, query, token_file, start="t[]", price="p[]")
    made.fetch(http, DAY_START, DAY_END)
    assert server.asked[0].headers.get("Authorization") == header
    assert server.asked[0].query.get("key") == key
    assert "s3cret" not in repr(made)


def test_times_without_an_offset_are_the_tariffs_own(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: say.as_json([["2026-07-01T12:00", "2026-07-01T13:00", 0.2]])
    made = json_source(server, items="[]", start="[0]", end="[1]", price="[2]")
    (slot,) = made.fetch(http, DAY_START, DAY_END).series.slots
    assert (slot.start, slot.end) == (utc("2026-07-01T10:00"), utc("2026-07-01T11:00"))


@pytest.mark.parametrize(
    "paths",
    [
        {"start": "t[]", "price": "nothing[]"},
        {"start": "t", "price": "p"},
        {"start": "t[0]", "price": "p[9]"},
        {"start": "t[]", "price": "p["},
        {"start": "t[]", "price": "p.q[]"},
        {"items": "t", "start": "a", "price": "b"},
    ],
)
def test_paths_that_lead_nowhere_are_rubbish(
    server: PriceServer, http: RealHttp, paths: dict[str, str]
) -> None:
    server.speak = lambda asked: say.as_json({"t": [1763766000, 1763767000], "p": [1]})
    with pytest.raises(FetchFailed) as caught:
        json_source(server, **paths).fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is Trouble.RUBBISH


def home_assistant(server: PriceServer, token_file: str, **keys: Any) -> PriceService:
    table = {"entity": "sensor.nordpool", "token_file": token_file, **keys}
    return service(server, "home_assistant", **table)


def test_home_assistant_gives_what_its_sensor_knows(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = say.home_assistant
    series = home_assistant(server, token_file).fetch(http, DAY_START, DAY_END).series
    assert len(series.slots) == 24
    assert series.slots[12].price == price(DAY_START + 12 * HOUR) / 1000
    assert server.asked[0].path == "/api/states/sensor.nordpool"
    assert server.asked[0].headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("unit", "more", "expected"),
    [
        ("EUR/kWh", {}, "20"),
        ("EUR/MWh", {}, "0.020"),
        ("ct/kWh", {}, "0.20"),
        ("c/kWh", {}, "0.20"),
        ("€/kWh", {}, "20"),
        ("EUR/kWh", {"price_in_cents": True}, "0.20"),
    ],
)
def test_home_assistant_units_are_those_of_the_sensor(
    server: PriceServer,
    http: RealHttp,
    token_file: str,
    unit: str,
    more: dict[str, Any],
    expected: str,
) -> None:
    row = {"start_time": "2026-11-22T00:00:00+01:00", "end_time": "2026-11-22T01:00:00+01:00"}
    attributes = {"unit_of_measurement": unit, "data": [{**row, "price_per_kwh": 20}], **more}
    server.speak = lambda asked: say.as_json({"state": "20", "attributes": attributes})
    (slot,) = home_assistant(server, token_file).fetch(http, DAY_START, DAY_END).series.slots
    assert slot.price == Decimal(expected)


@pytest.mark.parametrize(
    ("body", "trouble", "message"),
    [
        ({"state": "unavailable", "attributes": {}}, Trouble.BROKEN, "the sensor is unavailable"),
        ({"state": "1", "attributes": {}}, Trouble.RUBBISH, "unit '' instead of EUR/kWh"),
        (
            {"state": "1", "attributes": {"unit_of_measurement": "SEK/kWh"}},
            Trouble.RUBBISH,
            "prices in SEK instead of EUR",
        ),
        (
            {"state": "1", "attributes": {"unit_of_measurement": "EUR/kWh"}},
            Trouble.RUBBISH,
            "neither raw_today nor data",
        ),
        (
            {
                "state": "1",
                "attributes": {"unit_of_measurement": "EUR/kWh", "raw_today": []},
            },
            Trouble.NOT_YET,
            "an empty answer",
        ),
    ],
)
def test_home_assistant_without_prices_says_why(
    server: PriceServer,
    http: RealHttp,
    token_file: str,
    body: Any,
    trouble: Trouble,
    message: str,
) -> None:
    server.speak = lambda asked: say.as_json(body)
    with pytest.raises(FetchFailed) as caught:
        home_assistant(server, token_file).fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is trouble
    assert message in caught.value.reason


def test_a_file_is_read_as_it_is_now(server: PriceServer, http: RealHttp, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    made = service(server, "csv_file", file=str(file))
    troubles = []
    head = "utc_start,price,currency,unit\n"
    for content in (None, "rubbish", head + "2026-11-22T00:00Z,0.1,SEK,kWh\n"):
        if content is not None:
            file.write_text(content)
        with pytest.raises(FetchFailed) as caught:
            made.fetch(http, DAY_START, DAY_END)
        troubles.append(caught.value.trouble)
    assert troubles == [Trouble.NOT_YET, Trouble.RUBBISH, Trouble.RUBBISH]
    file.write_text(head + "2026-11-22T00:00Z,0.1,EUR,kWh\n")
    (slot,) = made.fetch(http, DAY_START, DAY_END).series.slots
    assert slot.price == Decimal("0.1")
    assert server.asked == []
