"""Prices as a picture of bars: one line an hour, zero where it is, gaps as gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import click

from orchestrator.cli import render, times
from orchestrator.cli.render import Glyphs
from orchestrator.tariff.slots import PriceSlot, Source, hourly

_HOUR = timedelta(hours=1)
_PRICE_COLUMNS = 9
#: before the bar: mark, time, price and the spaces between
_MARGIN = 2 + 5 + 2 + _PRICE_COLUMNS + 2
#: behind it: "forecast"
_REMARK_COLUMNS = 10
_TEN = Decimal(10)


@dataclass(frozen=True)
class View:
    """For whom it is drawn."""

    now: datetime
    width: int
    glyphs: Glyphs
    #: None: the machine's own
    zone: tzinfo | None = None


@dataclass(frozen=True)
class _Scale:
    """Where prices fall on the line."""

    low: Decimal
    high: Decimal
    columns: int

    @property
    def zero(self) -> int:
        """The column where the price is 0."""
        return self._column(Decimal(0))

    def bar(self, price: Decimal, sign: str) -> str:
        """From zero to the price, to the left when it is negative; never nothing but for 0."""
        edge = self._column(price)
        if price > 0:
            return " " * self.zero + sign * max(1, edge - self.zero)
        if price < 0:
            length = max(1, self.zero - edge)
            return " " * (self.zero - length) + sign * length
        return " " * self.zero

    def _column(self, price: Decimal) -> int:
        span = self.high - self.low
        return round((price - self.low) / span * self.columns) if span else 0


def picture(report: dict[str, Any], view: View) -> list[str]:
    """The lines of an answer of ``GET /api/v1/prices``."""
    slots = hourly(slots_of(report))
    lines = _head(report, view)
    if not slots:
        return [*lines, *_trouble(report, view), "No prices are known for these hours."]
    lines += [*_summary(report, slots, view), *_trouble(report, view)]
    return [*lines, *_bars(report, slots, view)]


def slots_of(report: dict[str, Any]) -> list[PriceSlot]:
    """The slots of an answer as values."""
    return [
        PriceSlot(
            times.from_json(slot["start"]),
            times.from_json(slot["end"]),
            Decimal(str(slot["price"])),
            Source(slot["source"]),
        )
        for slot in report["slots"]
    ]


def amount(price: Decimal) -> str:
    """Four digits behind the point, two for currencies of small units."""
    return f"{price:.2f}" if abs(price) >= _TEN else f"{price:.4f}"


# --- the parts ------------------------------------------------------------------------------


def _head(report: dict[str, Any], view: View) -> list[str]:
    source = report["source"]
    text = f"{report['unit']}, {source['title'] or 'a fixed tariff'}"
    if source["service"] and source["known_until"]:
        until = times.moment(times.from_json(source["known_until"]), view.now, zone=view.zone)
        text += f", published until {until}"
    return [click.style(line, bold=True) for line in render.wrap(text, view.width)]


def _trouble(report: dict[str, Any], view: View) -> list[str]:
    source = report["source"]
    if not source["trouble"]:
        return []
    text = render.clean(f"{source['reason']}; {source['fix']}")
    colour = "yellow" if source["failing"] else None
    return [click.style(line, fg=colour) for line in render.wrap(text, view.width)]


def _summary(report: dict[str, Any], slots: tuple[PriceSlot, ...], view: View) -> list[str]:
    cheapest = min(slots, key=lambda slot: slot.price)
    dearest = max(slots, key=lambda slot: slot.price)
    parts = []
    current = next((slot for slot in slots_of(report) if _holds(slot, view.now)), None)
    if current is not None:
        until = times.moment(current.end, view.now, zone=view.zone, named=False)
        parts.append(f"now {amount(current.price)} until {until}")
    if cheapest.price != dearest.price:
        for word, slot in (("cheapest", cheapest), ("dearest", dearest)):
            start = times.moment(slot.start, view.now, zone=view.zone, named=False)
            parts.append(f"{word} {amount(slot.price)} at {start}")
    return render.wrap("; ".join(parts), view.width)


def _bars(report: dict[str, Any], slots: tuple[PriceSlot, ...], view: View) -> Iterator[str]:
    prices = sorted(slot.price for slot in slots)
    columns = max(8, view.width - _MARGIN - _REMARK_COLUMNS)
    scale = _Scale(min(prices[0], Decimal(0)), max(prices[-1], Decimal(0)), columns)
    by_hour = {_hour(slot.start): slot for slot in slots}
    here, end = _hour(times.from_json(report["start"])), times.from_json(report["end"])
    day = ""
    while here < end:
        local = here.astimezone(view.zone)
        if f"{local:%F}" != day:
            day = f"{local:%F}"
            yield click.style(f"{local:%a} {local.day} {local:%b}", dim=True)
        slot = by_hour.get(here)
        is_now = here <= view.now < here + _HOUR
        if slot is None:
            yield _missing(local, is_now, view)
        else:
            yield _line(slot, local, is_now, scale, prices, view)
        here += _HOUR


def _line(
    slot: PriceSlot,
    local: datetime,
    is_now: bool,
    scale: _Scale,
    prices: list[Decimal],
    view: View,
) -> str:
    forecast = slot.source is Source.FORECAST
    sign = view.glyphs.empty if forecast else view.glyphs.full
    bar = scale.bar(slot.price, sign)
    remark = " forecast" if forecast else " now" if is_now else ""
    room = scale.columns + 1 - len(bar)
    colour = _colour(slot.price, prices)
    head = f"{_mark(is_now)}{local:%H:%M}  {amount(slot.price):>{_PRICE_COLUMNS}}  "
    tail = f"{'':{max(1, room)}}{remark}" if remark else ""
    return (click.style(head, bold=is_now or None) + click.style(bar, fg=colour) + tail).rstrip()


def _missing(local: datetime, is_now: bool, view: View) -> str:
    return f"{_mark(is_now)}{local:%H:%M}  {'':{_PRICE_COLUMNS}}  no price"


def _mark(is_now: bool) -> str:
    return "> " if is_now else "  "


def _colour(price: Decimal, prices: list[Decimal]) -> str | None:
    """Green for the cheaper third of the hours, red for the dearer one."""
    if prices[0] == prices[-1]:
        return None
    if price <= prices[len(prices) // 3]:
        return "green"
    return "red" if price >= prices[len(prices) * 2 // 3] else None


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _holds(slot: PriceSlot, moment: datetime) -> bool:
    return slot.start <= moment < slot.end
