"""What services do on bad days, over real HTTP: each fault is told apart by what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.home.clock import FakeClock, SystemClock
from orchestrator.tariff.http import FakeHttp, Http, RealHttp, Reply, Request, Unreachable
from orchestrator.tariff.services import PriceService, service_of
from orchestrator.tariff.services.base import FetchFailed, Trouble
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff import price_bodies as say
from tests.unit.tariff import price_server as ps
from tests.unit.tariff.price_server import Fault, PriceServer
from tests.unit.tariff.support import utc

START, END = utc("2026-11-21T23:00"), utc("2026-11-22T23:00")
#: short, for the faults that only time ends
SHORT_SECONDS = 0.4

ALL: dict[str, tuple[Any, dict[str, Any]]] = {
    "energy_charts": (say.energy_charts, {"area": "DE-LU"}),
    "awattar": (say.awattar, {"area": "DE"}),
    "nordpool": (say.nordpool, {"area": "SE3"}),
    "elprisetjustnu": (say.elprisetjustnu, {"area": "SE3"}),
    "octopus": (say.octopus, {"area": "C", "product": "AGILE", "currency": "GBP"}),
    "comed": (say.comed, {"currency": "USD"}),
    "energi_data_service": (say.energi_data_service, {"area": "DK1"}),
    "tibber": (say.tibber, {"currency": "NOK"}),
    "entsoe": (say.entsoe, {"area": "DE-LU"}),
    "generic_json": (
        say.energy_charts,
        {"paths": {"start": "unix_seconds[]", "price": "price[]", "unit": "MWh"}},
    ),
    "home_assistant": (say.home_assistant, {"entity": "sensor.x"}),
}


@pytest.fixture
def made(server: PriceServer, tmp_path: Path) -> Callable[[str], PriceService]:
    token = tmp_path / "token"
    token.write_text("s3cret")

    def make(name: str) -> PriceService:
        server.speak, keys = ALL[name]
        url = server.url + ("?start={start_date}&end={end_date}" if "paths" in keys else "")
        table = {"currency": "EUR", "service": name, "url": url, "token_file": str(token), **keys}
        found = service_of(TariffConfig.model_validate(table, context="file"))
        assert found is not None
        return found

    return make


def failure(service: PriceService, http: Http | None = None) -> FetchFailed:
    with pytest.raises(FetchFailed) as caught:
        service.fetch(http or RealHttp(SystemClock(), proxies={}), START, END)
    assert "s3cret" not in str(caught.value)
    assert "http" not in caught.value.reason.lower().replace("http status", "")
    return caught.value


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (Fault.NO_CONTENT, Trouble.NOT_YET),
        (Fault.NOT_FOUND, Trouble.NOT_YET),
        (Fault.BUSY, Trouble.BUSY),
        (Fault.FAILED, Trouble.BROKEN),
        (Fault.FORBIDDEN, Trouble.DENIED),
        (Fault.BAD_REQUEST, Trouble.DENIED),
        (Fault.CUT_OFF, Trouble.BROKEN),
        (Fault.WEB_PAGE, Trouble.RUBBISH),
        (Fault.NO_JSON, Trouble.RUBBISH),
        (Fault.OTHER_JSON, Trouble.RUBBISH),
        (Fault.HUNG_UP, Trouble.BROKEN),
    ],
)
def test_every_client_tells_every_fault_apart(
    server: PriceServer,
    made: Callable[[str], PriceService],
    name: str,
    fault: Fault,
    trouble: Trouble,
) -> None:
    service = made(name)
    server.fault = fault
    assert failure(service).trouble is trouble


@pytest.mark.parametrize(
    ("fault", "trouble", "reason"),
    [
        (Fault.OVERLOADED, Trouble.BUSY, "too many requests (HTTP status 503)"),
        (Fault.CUT_CHUNK, Trouble.BROKEN, "its answer was cut off"),
        (Fault.CUT_GZIP, Trouble.BROKEN, "cut off inside the compressed part"),
        (Fault.NO_GZIP, Trouble.BROKEN, "cannot be decompressed"),
        (Fault.BOMB, Trouble.BROKEN, "larger than 16,000,000 bytes"),
        (Fault.NOT_A_NUMBER, Trouble.RUBBISH, "no JSON"),
        (Fault.DEEP, Trouble.RUBBISH, "no JSON"),
        (Fault.MOVED, Trouble.BROKEN, "it moved to"),
    ],
)
def test_rarer_faults_are_told_apart_too(
    server: PriceServer,
    made: Callable[[str], PriceService],
    fault: Fault,
    trouble: Trouble,
    reason: str,
) -> None:
    service = made("energy_charts")
    server.fault = fault
    with pytest.raises(FetchFailed) as caught:
        service.fetch(RealHttp(SystemClock(), proxies={}), START, END)
    assert caught.value.trouble is trouble
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.SLOW, "took longer than 0.4 s"), (Fault.SILENT, "does not answer in time")],
)
def test_a_slow_service_is_given_up(
    server: PriceServer, made: Callable[[str], PriceService], fault: Fault, reason: str
) -> None:
    service = made("energy_charts")
    server.fault = fault
    error = failure(service, RealHttp(SystemClock(), SHORT_SECONDS, proxies={}))
    assert error.trouble is Trouble.BROKEN
    assert reason in error.reason


@pytest.mark.parametrize(
    ("fault", "seconds"), [(Fault.BUSY, 120), (Fault.BUSY_UNTIL, 90), (Fault.OVERLOADED, 600)]
)
def test_a_service_that_wants_to_be_left_alone_says_for_how_long(
    server: PriceServer, made: Callable[[str], PriceService], fault: Fault, seconds: float
) -> None:
    service = made("energy_charts")
    server.fault = fault
    assert failure(service).retry_after_seconds == pytest.approx(seconds, abs=2)


def test_a_redirect_on_the_same_server_is_followed(
    server: PriceServer, made: Callable[[str], PriceService]
) -> None:
    service = made("energy_charts")
    server.fault = Fault.MOVED_HERE
    published = service.fetch(RealHttp(SystemClock(), proxies={}), START, END)
    assert len(published.series.slots) == 96
    assert len(server.asked) == 2


def test_nobody_there_is_no_traceback(made: Callable[[str], PriceService]) -> None:
    with ps.price_server() as gone:
        url = gone.url
    table = {"currency": "EUR", "service": "energy_charts", "area": "AT", "url": url}
    service = service_of(TariffConfig.model_validate(table))
    assert service is not None
    error = failure(service)
    assert error.trouble is Trouble.BROKEN
    assert "cannot be reached: Connection refused" in error.reason


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/", "prices", "http://[x/"])
def test_only_web_servers_are_asked(url: str) -> None:
    http = RealHttp(FakeClock(), proxies={})
    with pytest.raises(Unreachable):
        http.send(Request(url))


def test_an_answer_without_end_is_left(server: PriceServer) -> None:
    server.speak = lambda asked: (200, b" " * 5000)
    http = RealHttp(SystemClock(), proxies={}, max_bytes=4000)
    with pytest.raises(Unreachable, match="larger than 4,000 bytes"):
        http.send(Request(server.url))


def test_the_fake_and_the_real_one_agree(server: PriceServer) -> None:
    """The same request, the same reply: what tests with the fake learn holds for the real one."""
    fake = FakeHttp(lambda request: Reply(200, b"{}", {"content-length": "2"}))
    server.speak = lambda asked: (200, b"{}")
    request = Request(server.url + "/x", headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(request)
    replies = [http.send(request) for http in (fake, RealHttp(SystemClock(), proxies={}))]
    assert replies[0].status == replies[1].status == 200
    assert replies[0].body == replies[1].body
    assert replies[1].headers["content-length"] == "2"
    assert fake.requests == [request]
    broken = FakeHttp(lambda request: Unreachable("gone"))
    with pytest.raises(Unreachable, match="gone"):
        broken.send(request)
