"""Energy and money by day, week or run, out of the ledger's rows. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal

from orchestrator.ledger.always_on import AlwaysOn, Fill, always_on
from orchestrator.ledger.entry import Entry, kwh

_MILLION = Decimal(1_000_000)
_MONEY_STEP = Decimal("1e-9")


class By(enum.StrEnum):
    """What a line of the summary is about."""

    DAY = "day"
    WEEK = "week"
    RUN = "run"


@dataclass(frozen=True)
class Money:
    """An amount; currencies are never added up."""

    currency: str
    amount: Decimal


@dataclass(frozen=True)
class Line:
    """A day, a week, a run, or all of them."""

    label: str
    start: datetime
    end: datetime
    kwh: Decimal
    #: of it, by a meter; the rest is a model's word
    measured_kwh: Decimal
    estimated_kwh: Decimal
    #: of it, without a known price: not in ``costs``, which are then too low
    unpriced_kwh: Decimal
    #: of it, rated by a forecast until the price is published
    forecast_kwh: Decimal
    costs: tuple[Money, ...]
    tokens: int
    #: None: nothing was trained
    kwh_per_million_tokens: Decimal | None
    #: empty: nothing was trained, or a price is missing
    costs_per_million_tokens: tuple[Money, ...]


@dataclass(frozen=True)
class Avoided:
    """A run against the same work at full power from the beginning; see ``always_on``."""

    run: str
    currency: str
    #: None where a price is missing
    cost: Decimal | None
    always_on_cost: Decimal | None
    avoided_cost: Decimal | None
    always_on_kwh: Decimal
    always_on_watts: float
    always_on_end: datetime
    avoided_kwh: Decimal


@dataclass(frozen=True)
class EnergySummary:
    """What ``homerun energy`` shows. ``lines`` and ``total`` are of runs only."""

    time: datetime
    by: By
    lines: tuple[Line, ...]
    #: None: the ledger has no row of a run
    total: Line | None
    #: what the meter saw while no trainer ran; in no other line
    without_run: Line | None
    avoided: tuple[Avoided, ...]


def summarize(
    entries: Sequence[Entry], by: By, zone: tzinfo | None, now: datetime, fill: Fill
) -> EnergySummary:
    """The summary of all rows, which are in the order of time.

    Args:
        zone: whose days and weeks; None is the machine's own.
        fill: prices where the ledger has none, see ``always_on``.
    """
    of_runs = [entry for entry in entries if entry.run is not None]
    others = [entry for entry in entries if entry.run is None]
    groups = _grouped(of_runs, _label(by, zone))
    return EnergySummary(
        time=now,
        by=by,
        lines=tuple(_line(label, rows) for label, rows in groups.items()),
        total=_line("total", of_runs) if of_runs else None,
        without_run=_line("without a run", others) if others else None,
        avoided=tuple(_avoided(entries, of_runs, fill)),
    )


def _label(by: By, zone: tzinfo | None) -> Callable[[Entry], str]:
    if by is By.RUN:
        return lambda entry: entry.run or ""
    pattern = "%G-W%V" if by is By.WEEK else "%Y-%m-%d"
    return lambda entry: entry.start.astimezone(zone).strftime(pattern)


def _grouped(entries: Iterable[Entry], label: Callable[[Entry], str]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(label(entry), []).append(entry)
    return groups


def _line(label: str, rows: Sequence[Entry]) -> Line:
    energy = sum(row.microjoules for row in rows)
    measured = sum(row.microjoules for row in rows if row.measured)
    unpriced = sum(row.microjoules for row in rows if row.cost is None)
    forecast = sum(row.microjoules for row in rows if row.rating.certainty == "forecast")
    tokens = sum(row.tokens for row in rows)
    costs = _costs(rows)
    per_million = Decimal(tokens) / _MILLION
    whole = bool(tokens) and not unpriced
    return Line(
        label,
        min(row.start for row in rows),
        max(row.end for row in rows),
        kwh(energy),
        kwh(measured),
        kwh(energy - measured),
        kwh(unpriced),
        kwh(forecast),
        costs,
        tokens,
        kwh(energy) / per_million if tokens else None,
        tuple(Money(c.currency, _rounded(c.amount / per_million)) for c in costs) if whole else (),
    )


def _costs(rows: Iterable[Entry]) -> tuple[Money, ...]:
    sums: dict[str, Decimal] = {}
    for row in rows:
        if row.cost is not None:
            currency = row.rating.currency
            sums[currency] = sums.get(currency, Decimal(0)) + row.cost
    return tuple(Money(currency, amount) for currency, amount in sorted(sums.items()))


def _avoided(entries: Sequence[Entry], of_runs: Iterable[Entry], fill: Fill) -> Iterable[Avoided]:
    for run, rows in _grouped(of_runs, lambda entry: entry.run or "").items():
        other = always_on(rows, entries, fill)
        if other is not None:
            yield _compared(run, rows, other)


def _compared(run: str, rows: Sequence[Entry], other: AlwaysOn) -> Avoided:
    known = [row.cost for row in rows if row.cost is not None]
    cost = sum(known, Decimal(0)) if len(known) == len(rows) else None
    saved = None if cost is None or other.cost is None else other.cost - cost
    energy = sum(row.microjoules for row in rows)
    return Avoided(
        run,
        other.currency,
        cost,
        other.cost,
        saved,
        kwh(other.microjoules),
        other.watts,
        other.end,
        kwh(other.microjoules - energy),
    )


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_MONEY_STEP)
