"""Metric families that leave out what is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric


class Gauge(GaugeMetricFamily):
    """A gauge without samples for unknown values."""

    def put(self, labels: tuple[str, ...], value: float | None) -> Gauge:
        """Add a sample unless its value is unknown."""
        if value is not None:
            self.add_metric(labels, float(value))
        return self


class Counter(CounterMetricFamily):
    """A counter that starts anywhere."""

    def put(self, labels: tuple[str, ...], value: float) -> Counter:
        """Add a total."""
        self.add_metric(labels, float(value))
        return self


def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """An empty gauge called ``homerun_`` and ``name``."""
    return Gauge(f"homerun_{name}", text, labels=labels)


def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    """An empty counter called ``homerun_``, ``name`` and ``_total``."""
    return Counter(f"homerun_{name}", text, labels=labels)


def one_of(
    name: str,
    text: str,
    label: str,
    choices: Iterable[str],
    current: str,
    others: tuple[str, ...] = (),
    values: tuple[str, ...] = (),
) -> Metric:
    """A 0/1 series for each choice; one that we do not know gets a series of its own."""
    family = gauge(name, text, (*others, label))
    for choice in dict.fromkeys((*choices, current)):
        family.put((*values, choice), choice == current)
    return family


def timestamp(moment: datetime | None) -> float | None:
    """Unix seconds."""
    return None if moment is None else moment.timestamp()
