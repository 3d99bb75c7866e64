"""Every client against a server that speaks as its service does, over real HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from orchestrator.tariff.http import RealHttp
from orchestrator.tariff.markets import MARKETS
from orchestrator.tariff.services import PriceService, service_of
from orchestrator.tariff.services.base import FetchFailed, Trouble
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff import price_server as ps
from tests.unit.tariff.asking import AUTUMN, DAY_END, DAY_START, SPRING, service
from tests.unit.tariff.price_bodies import Asked, price
from tests.unit.tariff.price_server import PriceServer
from tests.unit.tariff.support import HOUR, QUARTER, utc

#: service: what it says, the keys it needs, its step, and a price in its words
SPOKEN: dict[str, tuple[Any, dict[str, Any], timedelta]] = {
    "energy_charts": (say.energy_charts, {"area": "DE-LU"}, QUARTER),
    "awattar": (say.awattar, {"area": "DE"}, HOUR),
    "nordpool": (say.nordpool, {"area": "SE3"}, QUARTER),
    "elprisetjustnu": (say.elprisetjustnu, {"area": "SE3"}, QUARTER),
    "energi_data_service": (say.energi_data_service, {"area": "DK1"}, QUARTER),
    "entsoe": (say.entsoe, {"area": "DE-LU"}, QUARTER),
}


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
    assert [slot.start for slot in slots] == say.grid(*span, step)
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
    server.speak = lambda asked: say.as_json(body)
    answer = service(server, "energy_charts", area="AT").fetch(http, DAY_START, DAY_END)
    assert {slot.seconds for slot in answer.series.slots} == {3600}


def test_energy_charts_null_is_a_missing_price(server: PriceServer, http: RealHttp) -> None:
    seconds = [1764716400, 1764717300, 1764718200]
    body = {"unix_seconds": seconds, "price": [1, None, 3], "unit": "EUR / MWh"}
    server.speak = lambda asked: say.as_json(body)
    series = service(server, "energy_charts", area="AT").fetch(http, DAY_START, DAY_END).series
    assert [slot.seconds for slot in series.slots] == [900, 900]
    assert series.at(series.slots[0].end) is None


def test_a_unit_that_changed_is_not_believed(server: PriceServer, http: RealHttp) -> None:
    body = {"unix_seconds": [1764716400], "price": [0.09], "unit": "EUR / kWh"}
    server.speak = lambda asked: say.as_json(body)
    with pytest.raises(FetchFailed, match="unit 'EUR / kWh' instead of eur/mwh") as caught:
        service(server, "energy_charts", area="AT").fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is Trouble.RUBBISH


def test_energy_charts_zones_in_the_east_are_asked_for_the_auctions_last_hour_too(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = say.energy_charts
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
    server.speak = partial(say.nordpool, state="Preliminary")
    assert not made.fetch(http, DAY_START, DAY_END).final
    server.speak = say.nordpool
    assert made.fetch(http, DAY_START, DAY_END).final
    assert server.asked[0].query == {
        "date": "2026-11-22",
        "market": "DayAhead",
        "deliveryArea": "SE3",
        "currency": "EUR",
    }


def test_nord_pool_sells_britain_on_another_market(server: PriceServer, http: RealHttp) -> None:
    server.speak = say.nordpool
    service(server, "nordpool", area="UK", currency="GBP").fetch(http, DAY_START, DAY_END)
    assert server.asked[0].query["market"] == "N2EX_DayAhead"


def test_norway_speaks_as_sweden_does(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: say.as_json(
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
    answer = say.elprisetjustnu(Asked("/api/v1/prices/2026/10-25_SE3.json", {}, {}, b""))[
        1
    ].decode()
    assert f'"{starts[0]}", "time_end": "2026-10-25T03:00:00+01:00"' in answer, "the fault is there"
    server.speak = say.elprisetjustnu
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
    server.speak = say.octopus
    start, end = utc("2026-11-22T00:00"), utc("2026-11-24T00:00")
    series = octopus(server).fetch(http, start, end).series
    assert len(server.asked) == 3
    assert server.asked[0].path == (
        "/v1/products/AGILE-24-10-01/electricity-tariffs/E-1R-AGILE-24-10-01-C/standard-unit-rates/"
    )
    assert [slot.start for slot in series.slots] == say.grid(start, end, HOUR / 2)
    assert series.slots[0].price == price(start) / 1000 * Decimal("1.05")


def test_octopus_without_vat_when_the_tariff_adds_it(server: PriceServer, http: RealHttp) -> None:
    server.speak = say.octopus
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
    server.speak = lambda asked: say.as_json({"next": None, "results": rows})
    (slot,) = octopus(server).fetch(http, DAY_START, DAY_END).series.slots
    assert (slot.start, slot.end, slot.price) == (DAY_START, DAY_END, Decimal("0.252"))


def test_octopus_never_follows_a_page_to_another_server(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = lambda asked: say.as_json({"next": "https://evil.example/", "results": []})
    with pytest.raises(FetchFailed, match="another server"):
        octopus(server).fetch(http, DAY_START, DAY_END)


def test_octopus_that_pages_forever_is_left(server: PriceServer, http: RealHttp) -> None:
    server.speak = lambda asked: say.as_json({"next": server.url + asked.path, "results": []})
    with pytest.raises(FetchFailed, match="more than 20 pages"):
        octopus(server).fetch(http, DAY_START, DAY_END)


def test_comed_hours_are_the_mean_of_their_five_minutes(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = say.comed
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
        server.speak = lambda asked, rows=rows: say.as_json(rows)  # type: ignore[misc]
        slots = made.fetch(http, DAY_START, DAY_END).series.slots
        assert [slot.price for slot in slots] == [Decimal("-0.02")] * hours


def test_comed_hour_with_too_few_prices_has_none(server: PriceServer, http: RealHttp) -> None:
    times = [1434686400000 + 300_000 * index for index in (0, 1, 2, 3, *range(12, 24))]
    rows = [{"millisUTC": str(time), "price": "2"} for time in times]
    server.speak = lambda asked: say.as_json(rows)
    series = service(server, "comed", currency="USD").fetch(http, DAY_START, DAY_END).series
    assert [slot.start for slot in series.slots] == [utc("2015-06-19T05:00")]


def test_danish_prices_come_in_the_currency_of_the_tariff(
    server: PriceServer, http: RealHttp
) -> None:
    server.speak = say.energi_data_service
    made = service(server, "energi_data_service", area="DK2", currency="DKK")
    slot = made.fetch(http, DAY_START, DAY_END).series.slots[0]
    assert slot.price == price(DAY_START) * Decimal("7.46") / 1000
    assert server.asked[0].query["filter"] == '{"PriceArea":["DK2"]}'
