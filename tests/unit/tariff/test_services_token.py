"""Clients that show a token: Tibber and ENTSO-E."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Misconfigured
from orchestrator.tariff.http import RealHttp
from orchestrator.tariff.services import PriceService, service_of
from orchestrator.tariff.services.base import FetchFailed, Published, Trouble
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff.asking import DAY_END, DAY_START, service
from tests.unit.tariff.price_bodies import Curve, price
from tests.unit.tariff.price_server import PriceServer
from tests.unit.tariff.support import DAY, QUARTER


def tibber(server: PriceServer, token_file: str, **keys: Any) -> PriceService:
    table = {"currency": "NOK", "token_file": token_file, **keys}
    return service(server, "tibber", **table)


def test_tibber_tomorrow_is_empty_before_it_is_published(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = partial(say.tibber, tomorrow=False)
    made = tibber(server, token_file)
    assert made.market.gross
    today = made.fetch(http, DAY_START, DAY_END).series
    assert (today.slots[0].start, today.slots[-1].end) == (DAY_START, DAY_END)
    assert today.slots[0].price == price(DAY_START) / 1000 * Decimal("1.25")
    server.speak = say.tibber
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
    server.speak = lambda asked: say.as_json(body)
    with pytest.raises(FetchFailed, match=message) as caught:
        tibber(server, token_file).fetch(http, DAY_START, DAY_END)
    assert caught.value.trouble is trouble


def test_tibber_finds_the_home_that_was_named(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = say.tibber
    assert tibber(server, token_file, area="home").fetch(http, DAY_START, DAY_END).series.slots
    with pytest.raises(FetchFailed, match="no home cottage with a subscription"):
        tibber(server, token_file, area="cottage").fetch(http, DAY_START, DAY_END)


def test_tibber_in_another_currency_is_not_believed(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    server.speak = say.tibber
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
    answer = entsoe(server, http, token_file, say.entsoe_document(curve))
    assert prices_of(answer) == ["10", "10", "-30", "-30", "-30", "-30", "70", "70"]
    assert answer.series.slots[-1].end == end


def test_entsoe_other_curves_repeat_nothing(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    curve = Curve(DAY_START, DAY_START + 4 * QUARTER, ((1, "10"), (3, "30")), kind="A01")
    answer = entsoe(server, http, token_file, say.entsoe_document(curve))
    assert [slot.start for slot in answer.series.slots] == [DAY_START, DAY_START + 2 * QUARTER]


def test_entsoe_of_several_series_a_day_the_lowest_position_counts(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    end = DAY_START + 4 * QUARTER
    later = Curve(DAY_START, end + 4 * QUARTER, ((1, "99"),), order=2)
    first = Curve(DAY_START, end, ((1, "1"), (2, "2"), (3, "3"), (4, "4")), order=1)
    answer = entsoe(server, http, token_file, say.entsoe_document(later, first))
    assert prices_of(answer) == ["1", "2", "3", "4", "99", "99", "99", "99"]


def test_entsoe_of_hours_and_quarters_the_quarters_count(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    end = DAY_START + 4 * QUARTER
    hours = Curve(DAY_START, end, ((1, "9"),), resolution="PT60M", order=None)
    quarters = Curve(DAY_START, end, ((1, "1"),), order=None)
    answer = entsoe(server, http, token_file, say.entsoe_document(hours, quarters))
    assert prices_of(answer) == ["1"] * 4


def test_entsoe_is_asked_by_its_own_code_for_the_area(
    server: PriceServer, http: RealHttp, token_file: str
) -> None:
    entsoe(server, http, token_file, say.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"),))))
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
        (say.entsoe_refusal("999", "No matching data found"), Trouble.NOT_YET, "999: No matching"),
        (say.entsoe_refusal("401", "Unauthorized"), Trouble.DENIED, "401: Unauthorized"),
        (b"<html><body>down", Trouble.RUBBISH, "no XML"),
        (b"<other/>", Trouble.RUBBISH, "a document of type other"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", Trouble.RUBBISH, "entities"),
        (say.entsoe_document(), Trouble.NOT_YET, "an empty answer"),
        (
            say.entsoe_document(Curve(DAY_START, DAY_END, ((97, "1"),))),
            Trouble.RUBBISH,
            "position 97 of 96",
        ),
        (
            say.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"), (1, "2")))),
            Trouble.RUBBISH,
            "two prices at position 1",
        ),
        (
            say.entsoe_document(Curve(DAY_START, DAY_END, ((1, "NaN"),))),
            Trouble.RUBBISH,
            "no price: NaN",
        ),
        (
            say.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"),), resolution="P1D")),
            Trouble.RUBBISH,
            "resolution 'P1D'",
        ),
        (
            say.entsoe_document(Curve(DAY_START, DAY_END, ((1, "1"),), currency="PLN")),
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
