"""A fake backend with everything that a daemon can tell, and what it exports."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import generate_latest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.clock import Clock, FakeClock
from orchestrator.tariff.fetching import Standing
from orchestrator.tariff.report import PricesReport, report
from orchestrator.tariff.slots import PriceSeries
from orchestrator.tariff.table import TariffConfig
from orchestrator.web.fake import FakeBackend
from orchestrator.web.metrics import build_registry
from tests.unit.tariff.support import series

from .exported import exported_names

_TARIFF = TariffConfig.model_validate({"currency": "EUR", "service": "energy_charts", "area": "AT"})


def full_backend(clock: Clock) -> FakeBackend:
    """A run under way, held until soon, with a UPS, a price service and messages."""
    backend = FakeBackend(clock, step=300)
    began = clock.now()
    hour = began.replace(minute=0, second=0, microsecond=0)
    known: PriceSeries = series(hour, [0.12, 0.31, 0.2])
    standing = Standing(next_try=began + timedelta(hours=3), last_success=began)

    def prices(hours: int) -> PricesReport:
        return report(_TARIFF, known, standing, clock.now(), hours)

    vars(backend)["prices"] = prices
    return backend


@pytest.fixture(scope="session")
def exported() -> set[str]:
    """Names of all metrics that /metrics says of a run under way and of a held one."""
    clock = FakeClock()
    backend = full_backend(clock)
    registry = build_registry(backend, clock)
    names = exported_names(generate_latest(registry).decode())
    now = clock.now()
    backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", now, now + timedelta(hours=1)))
    return names | exported_names(generate_latest(registry).decode())
