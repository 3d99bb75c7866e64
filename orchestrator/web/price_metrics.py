"""The price of electricity in /metrics. What is unknown is absent, never 0."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from orchestrator.tariff.report import PricesReport
from orchestrator.web.families import gauge, timestamp


def price_metrics(report: PricesReport) -> Iterator[Metric]:
    """The present price, and how it stands with its source; nothing without a tariff."""
    source = report.source
    if not source.configured:
        return
    price = gauge(
        "price_per_kwh",
        "What a kWh costs now; source: published, forecast or fixed.",
        ("currency", "source"),
    )
    for slot in report.slots:
        if slot.start <= report.time < slot.end:
            price.put((source.currency, slot.source.value), float(slot.price))
    yield price
    if not source.service:
        return
    mine = (source.service,)
    for name, text, value in (
        ("known_until", "How far published prices reach.", source.known_until),
        ("last_success", "When prices came last.", source.last_success),
        ("next_try", "When they are asked for next.", source.next_try),
    ):
        full = f"prices_{name}_timestamp_seconds"
        yield gauge(full, text, ("service",)).put(mine, timestamp(value))
    failures = gauge("prices_failures", "Failures in a row.", ("service",))
    yield failures.put(mine, source.failures)
