"""Which charts a report has, with their titles and sizes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.cli.report import charts
from orchestrator.cli.report.canvas import Canvas
from orchestrator.cli.report.charts import Size
from orchestrator.cli.report.facts import Report, first_and_last

WIDE = 960.0
_HALF = 468.0
_TALL, _LOW = 250.0, 190.0


@dataclass(frozen=True)
class Panel:
    """One chart; two that are not ``wide`` stand side by side."""

    title: str
    remark: str
    size: Size
    wide: bool
    draw: Callable[[Canvas], None]


def panels(report: Report) -> Iterator[Panel]:
    """From the top to the bottom."""
    losses = [(p.step, p.loss) for p in report.points if p.loss is not None]
    scores = [(p.step, p.bits_per_byte) for p in report.points if p.bits_per_byte is not None]
    by_step = Size(WIDE if len(scores) < 2 else _HALF, _TALL)
    yield Panel(
        "Loss",
        "of training by step, nats a token; the line is its mean",
        by_step,
        len(scores) < 2,
        lambda canvas: charts.curve(canvas, by_step, losses, "nats"),
    )
    if len(scores) >= 2:
        yield Panel(
            "Validation",
            "by step, bits per byte of held-out text",
            by_step,
            False,
            lambda canvas: charts.curve(canvas, by_step, scores, "bits/byte"),
        )
    yield from _house(report)
    first, last = first_and_last(report)
    strip = Size(WIDE, charts.timeline_height(report.spans))
    yield Panel(
        "What happened",
        "training, what held it, and outages",
        strip,
        True,
        lambda canvas: charts.timeline(canvas, strip, report.spans, first, last),
    )


def _house(report: Report) -> Iterator[Panel]:
    if not report.bars:
        return
    priced = any(bar.cost is not None for bar in report.bars)
    size = Size(_HALF if priced else WIDE, _LOW)
    whose = ", all runs" if report.shared else ""
    small = max(bar.kwh for bar in report.bars) < 1.0
    unit, scale = ("Wh", 1000.0) if small else ("kWh", 1.0)
    yield Panel(
        f"Energy by {report.by}",
        f"{unit}{whose}; what no meter saw is faint",
        size,
        not priced,
        lambda canvas: charts.energy(canvas, size, report.bars, scale, unit),
    )
    if priced:
        yield Panel(
            f"Cost by {report.by}",
            f"{report.currency}{whose}, at the prices of its hours",
            size,
            False,
            lambda canvas: charts.cost(canvas, size, report.bars, report.currency),
        )
