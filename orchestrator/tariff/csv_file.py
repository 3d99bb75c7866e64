"""Prices from a CSV file: ``utc_start,price,currency,unit``.

``utc_start`` is ISO 8601 with a Z or an offset; ``unit`` is kWh, MWh or 0.01/kWh, with any remark
behind it. The length of a slot follows from its neighbours, so that a file may change from hours
to quarter-hours, and a row that is not there, or has no price, stays a missing price.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from orchestrator.errors import Misconfigured
from orchestrator.tariff.slots import PriceSeries, PriceSlot, Source
from orchestrator.tariff.spans import lengths
from orchestrator.tariff.units import factor, number

COLUMNS = ("utc_start", "price", "currency", "unit")
_FORM = f"write it as CSV with the columns {','.join(COLUMNS)}"
_MOST_PROBLEMS = 5


@dataclass(frozen=True)
class _Row:
    start: datetime
    price: Decimal | None
    currency: str


def read(path: Path) -> PriceSeries:
    """The prices in ``path``.

    Raises:
        Misconfigured: it cannot be read, or is not in this form; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(f"{path}: cannot be read: {reason}", _FORM) from None
    return parse(text, str(path))


def parse(text: str, file: str) -> PriceSeries:
    """As ``read``, for a text that is already there."""
    lines = csv.reader(text.splitlines())
    header = [name.strip() for name in next(lines, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise Misconfigured(f"{file}:1: no column {', '.join(missing)}", _FORM)
    places = [header.index(name) for name in COLUMNS]
    rows: dict[datetime, _Row] = {}
    problems: list[str] = []
    for cells in lines:
        try:
            _add(rows, _row(cells, places))
        except ValueError as error:
            problems.append(f"{file}:{lines.line_num}: {error}")
            if len(problems) == _MOST_PROBLEMS:
                break
    if problems:
        raise Misconfigured("\n".join(problems), _FORM)
    if not rows:
        raise Misconfigured(f"{file}: no prices in it", _FORM)
    return _series(rows, file)


def _row(cells: Sequence[str], places: Sequence[int]) -> _Row | None:
    if not any(cell.strip() for cell in cells):
        return None
    if len(cells) <= max(places):
        raise ValueError(f"{len(cells)} columns where {max(places) + 1} are needed")
    when, price, currency, unit = (cells[place].strip() for place in places)
    start = datetime.fromisoformat(when)
    if start.tzinfo is None:
        raise ValueError(f"{when!r} has no offset; write UTC with a Z behind it")
    if start.second or start.microsecond:
        raise ValueError(f"{when!r} is not on a full minute")
    scale = factor(unit)
    amount = number(price) * scale if price else None
    if len(currency) != 3 or not currency.isalpha():
        raise ValueError(f"no currency: {currency!r}; write its three letters, such as EUR")
    return _Row(start.astimezone(UTC), amount, currency.upper())


def _add(rows: dict[datetime, _Row], row: _Row | None) -> None:
    if row is None:
        return
    known = rows.setdefault(row.start, row)
    if known != row:
        raise ValueError(f"{row.start:%Y-%m-%dT%H:%MZ} stands twice, with different prices")


def _series(rows: dict[datetime, _Row], file: str) -> PriceSeries:
    ordered = [rows[start] for start in sorted(rows)]
    currencies = sorted({row.currency for row in ordered})
    if len(currencies) > 1:
        raise Misconfigured(f"{file}: several currencies: {', '.join(currencies)}", _FORM)
    spans = lengths([row.start for row in ordered])
    slots = (
        PriceSlot(row.start, row.start + span, row.price, Source.PUBLISHED)
        for row, span in zip(ordered, spans, strict=True)
        if row.price is not None
    )
    return PriceSeries(currencies[0], tuple(slots))
