"""The price of electricity in /metrics. What is unknown is absent, never 0."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.tariff.report import PricesReport
from orchestrator.web.backend import Backend

log = logging.getLogger(__name__)


class PriceCollector(Collector):
    """Asks for the present hour's prices once a scrape. A scrape never fails for them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Called once a scrape."""
        try:
            report = self._backend.prices(1)
        except Exception:
            log.exception("the prices cannot be turned into metrics")
            return
        if report.source.configured:
            yield from _metrics(report)


def _metrics(report: PricesReport) -> Iterator[Metric]:
    source = report.source
    price = GaugeMetricFamily(
        "homerun_price_per_kwh",
        "What a kWh costs now; source: published, forecast or fixed.",
        labels=("currency", "source"),
    )
    for slot in report.slots:
        if slot.start <= report.time < slot.end:
            price.add_metric((source.currency, slot.source.value), float(slot.price))
    yield price
    if not source.service:
        return
    for name, text, value in (
        ("known_until", "How far published prices reach.", source.known_until),
        ("last_success", "When prices came last.", source.last_success),
        ("next_try", "When they are asked for next.", source.next_try),
    ):
        full = f"homerun_prices_{name}_timestamp_seconds"
        yield _gauge(full, text, source.service, _timestamp(value))
    failures = float(source.failures)
    yield _gauge("homerun_prices_failures", "Failures in a row.", source.service, failures)


def _gauge(name: str, text: str, service: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(name, text, labels=("service",))
    if value is not None:
        family.add_metric((service,), value)
    return family


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
