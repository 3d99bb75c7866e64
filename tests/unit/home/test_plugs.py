"""Meters at the wall: real requests to a small server that speaks as they do, faults and all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import checks
from orchestrator.cli.session import Session
from orchestrator.errors import Misconfigured
from orchestrator.home.clock import FakeClock
from orchestrator.home.plug import (
    FakePlug,
    HomeAssistantPlug,
    Plug,
    PlugError,
    PlugReading,
    ShellyPlug,
    TasmotaPlug,
    UpsPlug,
)
from orchestrator.home.ups import FakeUps, UpsReading
from orchestrator.power.metering import plug_of
from orchestrator.settings.config import Config
from orchestrator.tariff.http import Http, RealHttp
from tests.unit.tariff.price_bodies import Asked
from tests.unit.tariff.price_server import Fault, PriceServer, price_server

SECRET = "s3cret-token"

BODIES: dict[str, dict[str, Any]] = {
    "gen2": {
        "/shelly": {"id": "shellyplusplugs-a8032ab1", "gen": 2, "model": "SNPL-00112EU"},
        "/rpc/Switch.GetStatus": {
            "id": 0, "source": "init", "output": True, "apower": 312.4, "voltage": 231.1,
            "current": 1.36, "aenergy": {"total": 123456.789, "by_minute": [5206.0, 5210.1, 0.0],
            "minute_ts": 1764716400}, "temperature": {"tC": 41.2, "tF": 106.2},
        },
    },
    "gen1": {
        "/shelly": {"type": "SHPLG-S", "mac": "B0A1C2", "auth": False, "fw": "20230913"},
        "/meter/0": {
            "power": 312.4, "overpower": 0.0, "is_valid": True, "timestamp": 1764716400,
            "counters": [312.4, 311.9, 312.0], "total": 7407407,
        },
    },
    "tasmota": {
        "/cm": {
            "StatusSNS": {
                "Time": "2026-12-01T10:00:00",
                "ENERGY": {"TotalStartTime": "2026-01-01T00:00:00", "Total": 123.456, "Today": 1.2,
                           "Power": 312.4, "ApparentPower": 330, "Factor": 0.95, "Voltage": 231},
            }
        }
    },
    "home_assistant": {
        "/api/states/sensor.pc_power": {
            "entity_id": "sensor.pc_power", "state": "312.4",
            "attributes": {"unit_of_measurement": "W", "device_class": "power"},
        }
    },
}  # fmt: skip
MAKES: dict[str, Callable[[Http, str], Plug]] = {
    "gen2": ShellyPlug,
    "gen1": ShellyPlug,
    "tasmota": lambda http, url: TasmotaPlug(http, url, password=SECRET),
    "home_assistant": lambda http, url: HomeAssistantPlug(http, url, "sensor.pc_power", SECRET),
}


@pytest.fixture
def server() -> Iterator[PriceServer]:
    with price_server() as made:
        yield made


def speaking(bodies: dict[str, Any]) -> Callable[[Asked], tuple[int, bytes]]:
    def speak(asked: Asked) -> tuple[int, bytes]:
        body = bodies.get(asked.path)
        return (404, b"{}") if body is None else (200, json.dumps(body).encode())

    return speak


def plug(server: PriceServer, kind: str) -> Plug:
    return MAKES[kind](RealHttp(FakeClock(), 0.5, proxies={}), server.url)


@pytest.mark.parametrize("kind", list(MAKES))
def test_each_says_what_the_pc_draws(server: PriceServer, kind: str) -> None:
    server.speak = speaking(BODIES[kind])
    made = plug(server, kind)
    assert made.read() == PlugReading(312.4)
    assert made.read() == PlugReading(312.4)
    if kind == "home_assistant":
        assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
    if kind == "tasmota":
        assert server.asked[0].query == {"cmnd": "Status 8", "user": "admin", "password": SECRET}
    if kind.startswith("gen"):
        assert [asked.path for asked in server.asked].count("/shelly") == 1


@pytest.mark.parametrize(
    "fault",
    [Fault.FAILED, Fault.FORBIDDEN, Fault.NOT_FOUND, Fault.BUSY, Fault.WEB_PAGE, Fault.NO_JSON,
     Fault.OTHER_JSON, Fault.NOT_A_NUMBER, Fault.DEEP, Fault.CUT_OFF, Fault.SILENT, Fault.HUNG_UP,
     Fault.MOVED],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["gen2", "tasmota", "home_assistant"])
def test_whatever_goes_wrong_is_an_error_without_the_secret(
    server: PriceServer, kind: str, fault: Fault
) -> None:
    server.speak = speaking(BODIES[kind])
    server.fault = fault
    with pytest.raises(PlugError) as caught:
        plug(server, kind).read()
    assert SECRET not in str(caught.value)
    assert server.url not in str(caught.value)
    server.fault = None
    assert plug(server, kind).read().watts == 312.4


@pytest.mark.parametrize(
    ("kind", "path", "body", "words"),
    [
        ("gen2", "/rpc/Switch.GetStatus", {"id": 0, "output": True}, "apower"),
        ("gen2", "/rpc/Switch.GetStatus", {"apower": None}, "no power"),
        ("gen2", "/rpc/Switch.GetStatus", {"apower": -40.0}, "no power of a PC"),
        ("gen2", "/rpc/Switch.GetStatus", {"apower": 1e9}, "no power of a PC"),
        ("gen1", "/meter/0", {"power": 0.0, "is_valid": False}, "not valid"),
        ("gen1", "/shelly", {"name": "a toaster"}, "does not say that it is a Shelly"),
        ("tasmota", "/cm", {"WARNING": "Need user=<username>&password=<password>"}, "token_file"),
        ("tasmota", "/cm", {"StatusSNS": {"Time": "x"}}, "ENERGY"),
        ("home_assistant", "/api/states/sensor.pc_power",
         {"state": "unavailable", "attributes": {}}, "unavailable"),
        ("home_assistant", "/api/states/sensor.pc_power",
         {"state": "21.5", "attributes": {"unit_of_measurement": "°C"}}, "unit is '°C'"),
        ("home_assistant", "/api/states/sensor.pc_power",
         {"state": "on", "attributes": {"unit_of_measurement": "W"}}, "no number"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_meant_is_refused(
    server: PriceServer, kind: str, path: str, body: dict[str, Any], words: str
) -> None:
    server.speak = speaking({**BODIES[kind], path: body})
    with pytest.raises(PlugError, match=words):
        plug(server, kind).read()


@pytest.mark.parametrize(
    ("state", "unit", "expected"),
    [
        ("0.3125", "kW", PlugReading(312.5)),
        ("2.5", "kWh", PlugReading(total_joules=9e6)),
        ("1500", "Wh", PlugReading(total_joules=5.4e6)),
        ("0", "W", PlugReading(0.0)),
    ],
)
def test_home_assistant_tells_its_unit(
    server: PriceServer, state: str, unit: str, expected: PlugReading
) -> None:
    body = {"state": state, "attributes": {"unit_of_measurement": unit}}
    server.speak = speaking({"/api/states/sensor.pc_power": body})
    assert plug(server, "home_assistant").read() == expected


def test_a_tasmota_of_several_sockets_tells_a_list(server: PriceServer) -> None:
    server.speak = speaking({"/cm": {"StatusSNS": {"ENERGY": {"Power": [5, 250]}}}})
    http = RealHttp(FakeClock(), 0.5, proxies={})
    assert TasmotaPlug(http, server.url, channel=1).read() == PlugReading(250.0)
    with pytest.raises(PlugError):
        TasmotaPlug(http, server.url, channel=2).read()


def test_a_ups_measures_or_says_that_it_does_not() -> None:
    assert UpsPlug(FakeUps(UpsReading(False, load_watts=180.0))).read() == PlugReading(180.0)
    with pytest.raises(PlugError, match="does not say"):
        UpsPlug(FakeUps()).read()
    with pytest.raises(PlugError, match="stale"):
        UpsPlug(FakeUps("stale")).read()
    with pytest.raises(PlugError, match="away"):
        FakePlug("away").read()


def config(tmp_path: Path, **power: Any) -> Config:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    return Config.model_validate({"power": {"token_file": str(tmp_path / "token"), **power}})


def test_the_configuration_makes_the_plug(server: PriceServer, tmp_path: Path) -> None:
    for meter, kind in (("shelly", "gen2"), ("tasmota",) * 2, ("home_assistant",) * 2):
        server.speak = speaking(BODIES[kind])
        made = config(tmp_path, meter=meter, address=server.url, entity="sensor.pc_power")
        http = RealHttp(FakeClock(), 0.5, proxies={})
        assert plug_of(made.power, made.ups, http).read().watts == 312.4
    with pytest.raises(Misconfigured, match="there is no UPS"):
        plug_of(config(tmp_path, meter="nut").power, Config().ups, http)
    (tmp_path / "token").unlink()
    with pytest.raises(Misconfigured, match="cannot be read"):
        plug_of(made.power, made.ups, http)


def test_the_doctor_asks_it_and_says_what_it_says(server: PriceServer, tmp_path: Path) -> None:
    session = Session(clock=FakeClock())
    (own,) = checks.meter(session, Config())
    assert own.state is checks.State.OK
    assert "the rest of the machine" in own.message
    made = config(tmp_path, meter="shelly", address=server.url)
    (silent,) = checks.meter(session, made)
    assert silent.state is checks.State.WARNING
    assert "estimated" in silent.fix
    server.speak = speaking(BODIES["gen2"])
    assert [check.message for check in checks.meter(session, made)] == ["shelly says 312 W"]
