"""The price in /metrics."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from orchestrator.home.clock import FakeClock
from orchestrator.tariff.fetching import Standing
from orchestrator.tariff.report import PricesReport, report
from orchestrator.tariff.services.base import Trouble
from orchestrator.tariff.slots import PriceSeries
from orchestrator.tariff.table import TariffConfig
from orchestrator.web.fake import FakeBackend
from orchestrator.web.metrics import build_registry
from tests.unit.tariff.support import HOUR, series


def scraped(backend: FakeBackend) -> list[str]:
    lines = generate_latest(build_registry(backend, FakeClock())).decode().splitlines()
    return [line for line in lines if line.startswith("homerun_price")]


def with_market(
    backend: FakeBackend, clock: FakeClock, known: PriceSeries, standing: Standing
) -> None:
    config = TariffConfig.model_validate(
        {"currency": "EUR", "service": "energy_charts", "area": "AT"}
    )

    def prices(hours: int) -> PricesReport:
        return report(config, known, standing, clock.now(), hours)

    vars(backend)["prices"] = prices


def test_a_fixed_price_is_one_series(backend: FakeBackend) -> None:
    assert scraped(backend) == ['homerun_price_per_kwh{currency="EUR",source="fixed"} 0.31']


def test_a_market_tells_how_far_it_reaches_and_how_it_fails(
    backend: FakeBackend, clock: FakeClock
) -> None:
    now = clock.now()
    failing = Standing(
        next_try=now + timedelta(minutes=2), last_success=now, failures=3, trouble=Trouble.BROKEN
    )
    with_market(backend, clock, series(now, [-0.01, 0.2]), failing)
    seconds = now.timestamp()
    found = dict(line.rsplit(" ", 1) for line in scraped(backend))
    market = '{service="energy_charts"}'
    assert {name: float(value) for name, value in found.items()} == {
        'homerun_price_per_kwh{currency="EUR",source="published"}': -0.01,
        f"homerun_prices_known_until_timestamp_seconds{market}": seconds + 7200,
        f"homerun_prices_last_success_timestamp_seconds{market}": seconds,
        f"homerun_prices_next_try_timestamp_seconds{market}": seconds + 120,
        f"homerun_prices_failures{market}": 3,
    }


def test_what_is_unknown_is_absent_and_not_zero(backend: FakeBackend, clock: FakeClock) -> None:
    now = clock.now()
    with_market(backend, clock, PriceSeries("EUR", ()), Standing(next_try=now + HOUR))
    assert [line.split("{")[0] for line in scraped(backend)] == [
        "homerun_prices_next_try_timestamp_seconds",
        "homerun_prices_failures",
    ]


def test_no_tariff_has_no_series(backend: FakeBackend) -> None:
    full = backend.prices(1)
    source = dataclasses.replace(full.source, configured=False)
    vars(backend)["prices"] = lambda hours: dataclasses.replace(full, source=source)
    assert scraped(backend) == []


def test_prices_that_cannot_be_read_do_not_end_the_scrape(
    backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(hours: int) -> Any:
        raise RuntimeError("no")

    vars(backend)["prices"] = broken
    assert scraped(backend) == []
    assert "the prices cannot be turned into metrics" in caplog.text
