"""How the tests of the services set one up, and the day that they ask for."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from orchestrator.tariff.services import PriceService, service_of
from orchestrator.tariff.table import TariffConfig
from tests.unit.tariff.price_server import PriceServer
from tests.unit.tariff.support import utc

BERLIN = ZoneInfo("Europe/Berlin")
DAY_START, DAY_END = utc("2026-11-21T23:00"), utc("2026-11-22T23:00")
SPRING = utc("2026-03-28T23:00"), utc("2026-03-29T22:00")
AUTUMN = utc("2026-10-24T22:00"), utc("2026-10-25T23:00")


def service(server: PriceServer, name: str, **keys: Any) -> PriceService:
    table = {"currency": "EUR", "url": server.url, "service": name, **keys}
    made = service_of(TariffConfig.model_validate(table, context="file"))
    assert made is not None
    return made
