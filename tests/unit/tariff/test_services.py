"""Every client against a server that speaks as its service does, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import SystemClock
from orchestrator.tariff.http import RealHttp
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.services import PriceService, service_of
from orchestrator.tariff.services.base import FetchFailed, Published, Trouble
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff import price_server as ps
from tests.unit.tariff.price_server import Asked, Curve, PriceServer, price
from tests.unit.tariff.support import DAY, HOUR, QUARTER, utc

BERLIN = ZoneInfo("Europe/Berlin")
DAY_START, DAY_END = utc("2026-11-21T23:00"), utc("2026-11-22T23:00")
SPRING = utc("2026-03-28T23:00"), utc("2026-03-29T22:00")
AUTUMN = utc("2026-10-24T22:00"), utc("2026-10-25T23:00")

#: service: what it says, the keys it needs, its step, and a price in its words
SPOKEN: dict[str, tuple[Any, dict[str, Any], timedelta]] = {
    "energy_charts": (ps.energy_charts, {"area": "DE-LU"}, QUARTER),
    "awattar": (ps.awattar, {"area": "DE"}, HOUR),
    "nordpool": (ps.nordpool, {"area": "SE3"}, QUARTER),
    "elprisetjustnu": (ps.elprisetjustnu, {"area": "SE3"}, QUARTER),
    "energi_data_service": (ps.energi_data_service, {"area": "DK1"}, QUARTER),
    "entsoe": (ps.entsoe, {"area": "DE-LU"}, QUARTER),
}


@pytest.fixture
def server() -> Iterator[PriceServer]:
    with ps.price_server() as running:
        yield running


@pytest.fixture
def http() -> RealHttp:
    return RealHttp(SystemClock(), proxies={})


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    return str(file)


def service(server: PriceServer, name: str, **keys: Any) -> PriceService:
    table = {"currency": "EUR", "url": server.url, "service": name, **keys}
    made = service_of(TariffConfig.model_validate(table, context="file"))
    assert made is not None
    return made


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.parametrize(
    ("span", "hours"), [((DAY_START, DAY_END), 24), (SPRING, 23), (AUTUMN, 25)]
)
def test_a_day_comes_whole_whatever_the_clocks_do(
    server: PriceServer,
    http: RealHttp,
    token_file: str,
    name: str,
    span: tuple[datetime, datetime],
    hours: int,
) -> None:
    speak, keys, step = SPOKEN[name]
    server.speak = speak
    answer = service(server, name, token_file=token_file, **keys).fetch(http, *span)
    slots = answer.series.slots
    assert answer.final
    assert answer.series.currency == "EUR"
    assert [slot.start for slot in slots] == ps.grid(*span, step)
    assert [slot.end for slot in slots] == [slot.start + step for slot in slots]
    assert slots[-1].end == span[1]
    assert len(slots) == hours * HOUR / step
    for slot in slots:
        assert slot.price == price(slot.start) / 1000, slot.start
    assert min(slot.price for slot in slots) < 0


@pytest.mark.parametrize("name", SPOKEN)
def test_prices_arrive_compressed_too(
    server: PriceServer, http: RealHttp, token_file: str, name: str
) -> None:
    speak, keys, _ = SPOKEN[name]
    server.speak, server.fault = speak, ps.Fault.COMPRESSED
    made = service(server, name, token_file=token_file, **keys)
    assert made.fetch(http, DAY_START, DAY_END).series.slots[0].start == DAY_START
    assert server.asked[0].headers["User-Agent"].startswith("homerun/")


def test_every_service_in_the_list_can_be_made(server: PriceServer, token_file: str) -> None:
    keys: dict[str, Any] = {
        "area": "DE",
        "product": "P",
        "token_file": token_file,
        "entity": "sensor.x",
        "file": "/x.csv",
        "paths": {"start": "t[]", "price": "p[]"},
    }
    for name, market in MARKETS.items():
        currency = market.currencies[0] if market.currencies else "EUR"
        made = service(server, name, **keys, currency=currency)
        assert made.market is market
    assert service_of(TariffConfig()) is None


# --- traps, one by one ----------------------------------------------------------------------


def test_energy_charts_hours_before_october_2025_are_hours(
    server: PriceServer, http: RealHttp
) -> None:
    starts = [1759183200 + 3600 * index for index in range(24)]
    body = {"unix_seconds": starts, "price": [90.5] * 24, "unit": "EUR/MWh"}
    server.speak = lambda asked: ps.as_json(body)
    answer = service(server, "energy_charts", area="AT").fetch(http, DAY_START, DAY_END)
    assert {slot.seconds for slot in answer.series.slots} == {3600}


def test_energy_charts_null_is_a_missing_price(server: PriceServer, http: RealHttp) -> None:
    seconds = [1764716400, 1764717300, 1764718200]
    body = {"unix_seconds": seconds, "price": [1, None, 3], "unit": "EUR / MWh"}
    server.speak = lambda asked: ps.as_json(body)
    series = service(server, "energy_charts", area="AT").fetch(http, DAY_START, DAY_END).series
    assert [slot.seconds for slot in series.slots] == [900, 900]
    assert series.at(series.slots[0].end) is None


def test_a_unit_that_changed_is_not_believed(server: PriceServer, http: RealHttp) -> None:
    body = {"unix_seconds": [1764716400], "price": [0.09], "unit": "EUR / kWh"}
    server.speak = lambda asked: ps.as_json(body)
    with pytest.raises(FetchFailed, match="unit 'EUR / kWh' instead of eur/mwh") as caught:
        service(server, "energy_charts", area="AT").fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is Trouble.RUBBISH


def test_energy_charts_zones_in_the_east_are_asked_for_the_auctions_last_hour_too(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = ps.energy_charts
    service(server, "energy_charts", area="FI").fetch(http, DAY_START, DAY_END)
    assert (server.asked[0].query["start"], server.asked[0].query["end"]) == (
        "2026-11-22",
        "2026-11-23",
    )


def test_awattar_knows_two_countries(server: PriceServer, http: RealHttp) -> None:
    made = service(server, "awattar", area="CH", url="")
    with pytest.raises(FetchFailed, match="it knows DE and AT") as caught:
        made.fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is Trouble.DENIED


def test_nord_pool_is_asked_again_until_prices_are_final(
    server: PriceServer, http: RealHttp
) -> None:
    made = service(server, "nordpool", area="SE3")
    server.speak = partial(ps.nordpool, state="Preliminary")
    assert not made.fetch(http, DAY_START, DAY_END).final
    server.speak = ps.nordpool
    assert made.fetch(http, DAY_START, DAY_END).final
    assert server.asked[0].query == {
        "date": "2026-11-22",
        "market": "DayAhead",
        "deliveryArea": "SE3",
        "currency": "EUR",
    }


def test_nord_pool_sells_britain_on_another_market(server: PriceServer, http: RealHttp) -> None:
    server.speak = ps.nordpool
    service(server, "nordpool", area="UK", currency="GBP").fetch(http, DAY_START, DAY_END)
    assert server.asked[0].query["market"] == "N2EX_DayAhead"


def test_norway_speaks_as_sweden_does(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: ps.as_json(
        [{"NOK_per_kWh": 0.4, "time_start": "2026-11-22T00:00:00+01:00"}]
    )
    made = service(server, "elprisetjustnu", area="no2", currency="NOK")
    (slot,) = made.fetch(http, DAY_START, DAY_END).series.slots
    assert (slot.price, slot.seconds) == (Decimal("0.4"), 3600)
    assert server.asked[0].path == "/api/v1/prices/2026/11-22_NO2.json"


def test_the_swedish_end_of_the_repeated_hour_is_not_believed(
    server: PriceServer, http: RealHttp
) -> None:
    starts = [f"2026-10-25T02:45:00+0{offset}:00" for offset in (2, 1)]
    answer = ps.elprisetjustnu(Asked("/api/v1/prices/2026/10-25_SE3.json", {}, {}, b""))[1].decode()
    assert f'"{starts[0]}", "time_end": "2026-10-25T03:00:00+01:00"' in answer, "the fault is there"
    server.speak = ps.elprisetjustnu
    series = service(server, "elprisetjustnu", area="SE3").fetch(http, *AUTUMN).series
    assert len(series.slots) == 100
    assert list(series.gaps(*AUTUMN)) == []


def octopus(server: PriceServer, **keys: Any) -> PriceService:
    return service(
        server, "octopus", **{"area": "c", "product": "AGILE-24-10-01", "currency": "GBP", **keys}
    )


def test_octopus_pages_are_read_to_the_end_newest_first(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = ps.octopus
    start, end = utc("2026-11-22T00:00"), utc("2026-11-24T00:00")
    series = octopus(server).fetch(http, start, end).series
    assert len(server.asked) == 3
    assert server.asked[0].path == (
        "/v1/products/AGILE-24-10-01/electricity-tariffs/E-1R-AGILE-24-10-01-C/standard-unit-rates/"
    )
    assert [slot.start for slot in series.slots] == ps.grid(start, end, HOUR / 2)
    assert series.slots[0].price == price(start) / 1000 * Decimal("1.05")


def test_octopus_without_vat_when_the_tariff_adds_it(server: PriceServer, http: RealHttp) -> None:
    server.speak = ps.octopus
    made = octopus(server, price_includes_vat=False)
    assert made.fetch(http, DAY_START, DAY_END).series.slots[0].price == price(DAY_START) / 1000


def test_octopus_fixed_products_have_no_end_and_two_ways_of_paying(
    server: PriceServer, http: RealHttp
) -> None:
    row = {"value_inc_vat": 25.2, "valid_from": "2026-01-01T00:00:00Z", "valid_to": None}
    rows = [
        {**row, "payment_method": "DIRECT_DEBIT"},
        {**row, "value_inc_vat": 27.9, "payment_method": "NON_DIRECT_DEBIT"},
    ]
    server.speak = lambda asked: ps.as_json({"next": None, "results": rows})
    (slot,) = octopus(server).fetch(http, DAY_START, DAY_END).series.slots
    assert (slot.start, slot.end, slot.price) == (DAY_START, DAY_END, Decimal("0.252"))


def test_octopus_never_follows_a_page_to_another_server(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = lambda asked: ps.as_json({"next": "https://evil.example/", "results": []})
    with pytest.raises(FetchFailed, match="another server"):
        octopus(server).fetch(http, DAY_START, DAY_END)


def test_octopus_that_pages_forever_is_left(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: ps.as_json({"next": server.url + asked.path, "results": []})
    with pytest.raises(FetchFailed, match="more than 20 pages"):
        octopus(server).fetch(http, DAY_START, DAY_END)


def test_comed_hours_are_the_mean_of_their_five_minutes(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = ps.comed
    start, end = utc("2026-11-22T06:00"), utc("2026-11-23T06:00")
    series = service(server, "comed", currency="USD").fetch(http, start, end).series
    assert server.asked[0].query["datestart"] == "202611220000"
    assert server.asked[0].query["dateend"] == "202611222359"
    assert len(series.slots) == 24
    mean = sum(minute / Decimal(10) for minute in range(0, 60, 5)) / 12
    assert {slot.price for slot in series.slots} == {mean / 100}


def test_comed_prices_an_hour_only_when_it_has_passed(server: PriceServer, http: RealHttp) -> None:
    first_hour = 1434686400000
    made = service(server, "comed", currency="USD")
    for count, hours in ((12, 1), (23, 1), (24, 2)):
        times = [first_hour + 300_000 * index for index in range(count)][::-1]
        rows = [{"millisUTC": str(time), "price": "-2.0"} for time in times]
        server.speak = lambda asked, rows=rows: ps.as_json(rows)  # type: ignore[misc]
        slots = made.fetch(http, DAY_START, DAY_END).series.slots
        assert [slot.price for slot in slots] == [Decimal("-0.02")] * hours


def test_comed_hour_with_too_few_prices_has_none(server: PriceServer, http: RealHttp) -> None:
    times = [1434686400000 + 300_000 * index for index in (0, 1, 2, 3, *range(12, 24))]
    rows = [{"millisUTC": str(time), "price": "2"} for time in times]
    server.speak = lambda asked: ps.as_json(rows)
    series = service(server, "comed", currency="USD").fetch(http, DAY_START, DAY_END).series
    assert [slot.start for slot in series.slots] == [utc("2015-06-19T05:00")]


def test_danish_prices_come_in_the_currency_of_the_tariff(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = ps.energi_data_service
    made = service(server, "energi_data_service", area="DK2", currency="DKK")
    slot = made.fetch(http, DAY_START, DAY_END).series.slots[0]
    assert slot.price == price(DAY_START) * Decimal("7.46") / 1000
    assert server.asked[0].query["filter"] == '{"PriceArea":["DK2"]}'


# --- with a token ---------------------------------------------------------------------------


def tibber(server: PriceServer, token_file: str, **keys: Any) -> PriceService:
    table = {"currency": "NOK", "token_file": token_file, **keys}
    return service(server, "tibber", **table)


def test_tibber_tomorrow_is_empty_before_it_is_published(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = partial(ps.tibber, tomorrow=False)
    made = tibber(server, token_file)
    assert made.market.gross
    today = made.fetch(http, DAY_START, DAY_END).series
    assert (today.slots[0].start, today.slots[-1].end) == (DAY_START, DAY_END)
    assert today.slots[0].price == price(DAY_START) / 1000 * Decimal("1.25")
    server.speak = ps.tibber
    both = made.fetch(http, DAY_START, DAY_END).series
    assert both.slots[-1].end == DAY_END + DAY
    assert server.asked[0].headers["Authorization"] == "Bearer s3cret"
    assert b"QUARTER_HOURLY" in server.asked[0].body


@pytest.mark.parametrize(
    ("body", "trouble", "message"),
    [
        ({"errors": [{"message": "No valid access token"}]}, Trouble.DENIED, "No valid access"),
        ({"data": {"viewer": {"homes": []}}}, Trouble.DENIED, "no home with a subscription"),
        ({"data": None}, Trouble.RUBBISH, "not the documented form"),
    ],
)
def test_tibber_without_prices_says_why(
    server: PriceServer,
    http: RealHttp,
    token_file: str,
    body: Any,
    trouble: Trouble,
    message: str,
) -> None:
    server.speak = lambda asked: ps.as_json(body)
    with pytest.raises(FetchFailed, match=message) as caught:
        tibber(server, token_file).fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is trouble


def test_tibber_finds_the_home_that_was_named(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = ps.tibber
    assert tibber(server, token_file, area="home").fetch(http, DAY_START, DAY_END).series.slots
    with pytest.raises(FetchFailed, match="no home cottage with a subscription"):
        tibber(server, token_file, area="cottage").fetch(http, DAY_START, DAY_END)


def test_tibber_in_another_currency_is_not_believed(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = ps.tibber
    with pytest.raises(FetchFailed, match="prices in NOK instead of SEK"):
        tibber(server, token_file, currency="SEK").fetch(http, DAY_START, DAY_END)


def entsoe(server: PriceServer, http: RealHttp, token_file: str, body: bytes) -> Published:
    server.speak = lambda asked: (200, body)
    made = service(server, "entsoe", area="DE-LU", token_file=token_file)
    return made.fetch(http, DAY_START, DAY_END)


def prices_of(published: Published) -> list[str]:
    return [f"{slot.price * 1000:.0f}" for slot in published.series.slots]


def test_entsoe_missing_positions_repeat_the_previous_price(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    end = DAY_START + 8 * QUARTER
    curve = Curve(DAY_START, end, ((1, "10"), (3, "-30"), (7, "70")))
    answer = entsoe(server, http, token_file, ps.entsoe_document(curve))
    assert prices_of(answer) == ["10", "10", "-30", "-30", "-30", "-30", "70", "70"]
    assert answer.series.slots[-1].end == end


def test_entsoe_other_curves_repeat_nothing(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    curve = Curve(DAY_START, DAY_START + 4 * QUARTER, ((1, "10"), (3, "30")), kind="A01")
    answer = entsoe(server, http, token_file, ps.entsoe_document(curve))
    assert [slot.start for slot in answer.series.slots] == [DAY_START, DAY_START + 2 * QUARTER]


def test_entsoe_of_several_series_a_day_the_lowest_position_counts(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    end = DAY_START + 4 * QUARTER
    later = Curve(DAY_START, end + 4 * QUARTER, ((1, "99"),), order=2)
    first = Curve(DAY_START, end, ((1, "1"), (2, "2"), (3, "3"), (4, "4")), order=1)
    answer = entsoe(server, http, token_file, ps.entsoe_document(later, first))
    assert prices_of(answer) == ["1", "2", "3", "4", "99", "99", "99", "99"]


def test_entsoe_of_hours_and_quarters_the_quarters_count(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    end = DAY_START + 4 * QUARTER
    hours = Curve(DAY_START, end, ((1, "9"),), resolution="PT60M", order=None)
    quarters = Curve(DAY_START, end, ((1, "1"),), order=None)
    answer = entsoe(server, http, token_file, ps.entsoe_document(hours, quarters))
    assert prices_of(answer) == ["1"] * 4


def test_entsoe_is_asked_by_its_own_code_for_the_area(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    entsoe(server, http, token_file, ps.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"),))))
    assert server.asked[0].query == {
        "securityToken": "s3cret",
        "documentType": "A44",
        "in_Domain": "10Y1001A1001A82H",
        "out_Domain": "10Y1001A1001A82H",
        "periodStart": "202611212300",
        "periodEnd": "202611222300",
    }


@pytest.mark.parametrize(
    ("body", "trouble", "message"),
    [
        (ps.entsoe_refusal("999", "No matching data found"), Trouble.NOT_YET, "999: No matching"),
        (ps.entsoe_refusal("401", "Unauthorized"), Trouble.DENIED, "401: Unauthorized"),
        (b"<html><body>down", Trouble.RUBBISH, "no XML"),
        (b"<other/>", Trouble.RUBBISH, "a document of type other"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", Trouble.RUBBISH, "entities"),
        (ps.entsoe_document(), Trouble.NOT_YET, "an empty answer"),
        (
            ps.entsoe_document(Curve(DAY_START, DAY_END, ((97, "1"),))),
            Trouble.RUBBISH,
            "position 97 of 96",
        ),
        (
            ps.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"), (1, "2")))),
            Trouble.RUBBISH,
            "two prices at position 1",
        ),
        (
            ps.entsoe_document(Curve(DAY_START, DAY_END, ((1, "NaN"),))),
            Trouble.RUBBISH,
            "no price: NaN",
        ),
        (
            ps.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"),), resolution="P1D")),
            Trouble.RUBBISH,
            "resolution 'P1D'",
        ),
        (
            ps.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"),), currency="PLN")),
            Trouble.RUBBISH,
            "PLN/MWH instead of EUR/MWH",
        ),
    ],
)
def test_entsoe_without_prices_says_why(
    server: PriceServer,
    http: RealHttp,
    token_file: str,
    body: bytes,
    trouble: Trouble,
    message: str,
) -> None:
    with pytest.raises(FetchFailed) as caught:
        entsoe(server, http, token_file, body)
    assert caught.value.trouble is trouble
    assert message in caught.value.reason


@pytest.mark.parametrize("content", ["", "two words\nand lines", "ключ"])
def test_a_token_file_without_a_token_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    keys = {"service": "tibber", "currency": "NOK", "token_file": str(file)}
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        service_of(TariffConfig.model_validate(keys))
    file.write_text(content)
    with pytest.raises(Misconfigured, match="holds no token"):
        service_of(TariffConfig.model_validate(keys))


# --- sources without a service of their own -------------------------------------------------

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
    server.speak = lambda asked: ps.as_json(ROWS)
    made = json_source(server, items="data.list[]", start="at.from", price="cents", unit="0.01/kWh")
    slots = made.fetch(http, DAY_START, DAY_END).series.slots
    assert [(slot.start, slot.price) for slot in slots] == [
        (DAY_START, Decimal("0.255")),
        (DAY_START + HOUR, Decimal("-0.03")),
    ]
    assert {slot.seconds for slot in slots} == {1800}


def test_lists_side_by_side_are_read_by_paths(server: PriceServer, http: RealHttp) -> None:
    server.speak = ps.energy_charts
    query = "?start={start_date}&end={end_date}"
    made = json_source(server, query, start="unix_seconds[]", price="price[]", unit="MWh")
    slots = made.fetch(http, *AUTUMN).series.slots
    assert len(slots) == 100
    assert slots[0].price == price(AUTUMN[0]) / 1000
    assert server.asked[0].query == {"start": "2026-10-25", "end": "2026-10-25"}


def test_an_address_can_ask_for_any_form_of_time(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: ps.as_json({"t": [1763766000000], "p": [1]})
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
    server.speak = lambda asked: ps.as_json({"t": [1763766000], "p": [1]})
    made = json_source(server, query, token_file, start="t[]", price="p[]")
    made.fetch(http, DAY_START, DAY_END)
    assert server.asked[0].headers.get("Authorization") == header
    assert server.asked[0].query.get("key") == key
    assert "s3cret" not in repr(made)


def test_times_without_an_offset_are_the_tariffs_own(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: ps.as_json([["2026-07-01T12:00", "2026-07-01T13:00", 0.2]])
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
    server.speak = lambda asked: ps.as_json({"t": [1763766000, 1763767000], "p": [1]})
    with pytest.raises(FetchFailed) as caught:
        json_source(server, **paths).fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is Trouble.RUBBISH


def home_assistant(server: PriceServer, token_file: str, **keys: Any) -> PriceService:
    table = {"entity": "sensor.nordpool", "token_file": token_file, **keys}
    return service(server, "home_assistant", **table)


def test_home_assistant_gives_what_its_sensor_knows(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = ps.home_assistant
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
    server.speak = lambda asked: ps.as_json({"state": "20", "attributes": attributes})
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
    server.speak = lambda asked: ps.as_json(body)
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
