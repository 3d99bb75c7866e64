"""The charts of a report, drawn on any canvas. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, dropwhile

from orchestrator.cli.render import amount
from orchestrator.cli.report.canvas import Canvas, Point, colour_of
from orchestrator.cli.report.facts import Bar, Span

#: the mean of about so many points shows the trend
_SMOOTHING = 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 12.0, 26.0
ROW = 26.0
WORDS = {
    "trainer": "training",
    "outage": "outage",
    "user": "you",
    "tariff": "tariff",
    "quiet_hours": "quiet hours",
    "thermal": "heat",
    "gpu_busy": "GPU busy",
    "ups": "UPS",
    "disk": "disk",
    "drain": "shutdown",
    "crash_loop": "crash loop",
    "network": "network",
    "sleep": "sleep",
}


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return self.first + min(1.0, max(0.0, part)) * (self.last - self.first)


@dataclass(frozen=True)
class Size:
    """How large a chart is."""

    width: float
    height: float

    @property
    def bottom(self) -> float:
        """Where the horizontal axis lies."""
        return self.height - _BOTTOM

    @property
    def right(self) -> float:
        """Where the plot ends."""
        return self.width - _RIGHT


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between ``low`` and ``high``: steps of 1, 2 or 5 by powers of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def curve(canvas: Canvas, size: Size, points: Sequence[tuple[int, float]], unit: str) -> None:
    """Values over steps: each point faint, their trend in front.

    The first steps of a run are far above all others; the axis leaves out the highest 2 %.
    """
    if len(points) < 2:
        _nothing(canvas, size, "no two points yet")
        return
    values = sorted(value for _, value in points)
    low, high = values[0], values[min(len(values) - 1, int(len(values) * 0.98))]
    room = max((high - low) * 0.06, abs(high) * 0.01, 1e-9)
    y = Scale(low - room, high + room, size.bottom, _TOP)
    x = Scale(points[0][0], max(points[-1][0], points[0][0] + 1), _LEFT, size.right)
    many = len(points) > 2 * _SMOOTHING
    trend = list(_below(high + room, _smoothed(points) if many else points))
    line = [(x(step), y(value)) for step, value in trend]
    canvas.area([*line, (line[-1][0], size.bottom), (line[0][0], size.bottom)], "train", 0.08)
    _grid(canvas, size, y, lambda value: f"{value:g}", unit)
    for step in ticks(x.low, x.high, 6):
        place = (x(step), size.height - 8)
        canvas.text(place, _count(step), size=11, colour="muted", anchor="middle")
    if many:
        faint = [(x(step), y(value)) for step, value in _below(high + room, points)]
        canvas.line(faint, "train", 0.8, 0.3)
    canvas.line(line, "train", 2.0)


@dataclass(frozen=True)
class _Column:
    """A bar: its whole height, and how much of it is solid."""

    label: str
    value: float | None
    solid: float


def energy(canvas: Canvas, size: Size, found: Sequence[Bar], scale: float, unit: str) -> None:
    """One bar a day; what no meter saw is faint. ``scale``: how many ``unit`` are a kWh."""
    columns = [_Column(bar.label, bar.kwh * scale, bar.measured_kwh * scale) for bar in found]
    _columns(canvas, size, columns, "good", unit)


def cost(canvas: Canvas, size: Size, found: Sequence[Bar], currency: str) -> None:
    """One bar a day; a day without a known price has none."""
    columns = [_Column(bar.label, bar.cost, bar.cost or 0.0) for bar in found]
    _columns(canvas, size, columns, "money", currency)


def _columns(canvas: Canvas, size: Size, found: Sequence[_Column], colour: str, unit: str) -> None:
    known = [column.value for column in found if column.value is not None]
    if not known or max(known) <= 0:
        _nothing(canvas, size, "nothing known yet")
        return
    y = Scale(0.0, max(known) * 1.08, size.bottom, _TOP)
    _grid(canvas, size, y, lambda number: f"{number:g}", unit)
    pitch = (size.right - _LEFT) / len(found)
    width = min(40.0, pitch * 0.72)
    every = max(1, math.ceil(len(found) / 7))
    for number, column in enumerate(found):
        middle = _LEFT + pitch * (number + 0.5)
        if number % every == 0:
            place = (middle, size.height - 8)
            canvas.text(place, _short(column.label), size=11, colour="muted", anchor="middle")
        tip = f"{column.label}: {column.value or 0.0:.3g} {unit}"
        for tall, opacity in ((column.value or 0.0, 0.35), (column.solid, 1.0)):
            if tall > 0:
                corner = (middle - width / 2, y(tall))
                extent = (width, max(1.0, size.bottom - y(tall)))
                canvas.box(corner, extent, colour, radius=2, opacity=opacity, tip=tip)


def rows(spans: Sequence[Span]) -> list[str]:
    """The kinds that occur: the trainer first, outages last."""
    kinds = dict.fromkeys(span.kind for span in spans)
    rank = {"trainer": 0, "outage": 2}
    return sorted(kinds, key=lambda kind: (rank.get(kind, 1), kind))


def timeline(
    canvas: Canvas, size: Size, spans: Sequence[Span], first: datetime, last: datetime
) -> None:
    """What happened when, a row for each kind."""
    kinds = rows(spans)
    if not kinds:
        _nothing(canvas, size, "nothing happened yet")
        return
    left, right = 92.0, size.right
    x = Scale(first.timestamp(), last.timestamp(), left, right)
    bottom = _TOP + ROW * len(kinds)
    for moment, label in time_ticks(first, last):
        place = x(moment.timestamp())
        canvas.line([(place, _TOP), (place, bottom)], "grid")
        canvas.text((place, bottom + 16), label, size=11, colour="muted", anchor="middle")
    for number, kind in enumerate(kinds):
        top = _TOP + ROW * number
        text = WORDS.get(kind, kind)
        canvas.text((left - 12, top + 17), text, size=12, colour="ink", anchor="end")
        canvas.box((left, top + 5), (right - left, ROW - 10), "grid", radius=3, opacity=0.5)
        for span in spans:
            if span.kind == kind:
                begin, end = x(span.start.timestamp()), x(span.end.timestamp())
                corner, extent = (begin, top + 5), (max(1.5, end - begin), ROW - 10)
                radius = min(3.0, extent[0] / 3)
                canvas.box(corner, extent, colour_of(kind), radius=radius, tip=_tip(span))


def timeline_height(spans: Sequence[Span]) -> float:
    """As many rows as it needs."""
    return _TOP + ROW * max(1, len(rows(spans))) + 28


def time_ticks(first: datetime, last: datetime) -> Iterator[tuple[datetime, str]]:
    """About six moments with their names, on local hours or days."""
    hours = (last - first) / timedelta(hours=1)
    steps = (1 / 60, 2 / 60, 5 / 60, 1 / 6, 0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672)
    step = next((item for item in steps if hours / item <= 7), 1344)
    local = first.astimezone()
    # fine steps begin with the hour, coarse ones with the day
    moment = local.replace(minute=0, second=0, microsecond=0)
    moment = moment if step < 1 else moment.replace(hour=0)
    while moment <= last:
        if moment >= first:
            date, clock = f"{moment.day} {moment:%b}", f"{moment:%H:%M}"
            yield moment, date if step >= 24 or clock == "00:00" else clock
        moment += timedelta(hours=step)


def _below(top: float, points: Iterable[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """From where the curve comes into the picture."""
    return dropwhile(lambda point: point[1] > top, points)


def _smoothed(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """The mean of as many neighbours on both sides, fewer at the ends: it does not lag behind."""
    sums = [0.0, *accumulate(value for _, value in points)]
    for number, (step, _) in enumerate(points):
        reach = min(_SMOOTHING // 2, number, len(points) - 1 - number)
        first, last = number - reach, number + reach + 1
        yield step, (sums[last] - sums[first]) / (last - first)


def _grid(canvas: Canvas, size: Size, y: Scale, label: Callable[[float], str], unit: str) -> None:
    for value in ticks(y.low, y.high, 4):
        height = y(value)
        canvas.line([(_LEFT, height), (size.right, height)], "grid")
        place = (_LEFT - 8, height + 4)
        canvas.text(place, label(round(value, 10)), size=11, colour="muted", anchor="end")
    canvas.text((size.right, _TOP - 1), unit, size=11, colour="muted", anchor="end")


def _nothing(canvas: Canvas, size: Size, text: str) -> None:
    place: Point = (size.width / 2, size.height / 2)
    canvas.text(place, text, size=13, colour="muted", anchor="middle")


def _count(step: float) -> str:
    return amount(step) if step >= 10_000 else f"{step:,.0f}"


def _short(label: str) -> str:
    """``1 Dec`` of ``2026-12-01``; weeks stay as they are, without their year."""
    try:
        day = datetime.fromisoformat(label)
    except ValueError:
        return label.partition("-")[2] or label
    return label.partition("-")[2] if "W" in label else f"{day.day} {day:%b}"


def _tip(span: Span) -> str:
    start, end = span.start.astimezone(), span.end.astimezone()
    text = f"{WORDS.get(span.kind, span.kind)}: {start:%F %H:%M} to {end:%F %H:%M}"
    return f"{text} ({span.note})" if span.note else text
