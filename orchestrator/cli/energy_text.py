"""The energy summary for people, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.cli import render
from orchestrator.cli.render import Column, Glyphs

_COLUMNS = (
    Column("KWH", right=True),
    Column("MEASURED", right=True),
    Column("COST", right=True),
    Column("TOKENS", right=True),
    Column("KWH/M TOKENS", right=True),
    Column("COST/M TOKENS", right=True),
)
_CSV = (
    "label", "start", "end", "kwh", "measured_kwh", "estimated_kwh", "unpriced_kwh",
    "forecast_kwh", "tokens", "kwh_per_million_tokens",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """For whom it is drawn."""

    width: int
    glyphs: Glyphs


def lines(summary: dict[str, Any], view: View) -> list[str]:
    """The lines of an answer of ``GET /api/v1/energy`` that is not empty."""
    rows = [*summary["lines"], *([summary["total"]] if len(summary["lines"]) > 1 else [])]
    columns = (Column(summary["by"].upper()), *_COLUMNS)
    found = render.table(columns, [_row(line) for line in rows], view.width, view.glyphs)
    for text in _remarks(summary):
        found += render.wrap(text, view.width)
    return found


def as_csv(summary: dict[str, Any]) -> str:
    """One row a line of the summary, one column of costs a currency; unknown is empty."""
    currencies = sorted({cost["currency"] for line in summary["lines"] for cost in line["costs"]})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_CSV, *(f"cost_{currency}" for currency in currencies)])
    for line in summary["lines"]:
        costs = {cost["currency"]: cost["amount"] for cost in line["costs"]}
        cells = [_plain(line[name]) for name in _CSV]
        writer.writerow([*cells, *(_plain(costs.get(currency)) for currency in currencies)])
    return out.getvalue()


# --- the parts ------------------------------------------------------------------------------


def _row(line: dict[str, Any]) -> list[str]:
    per_million = line["kwh_per_million_tokens"]
    return [
        line["label"],
        _kwh(line["kwh"]),
        _share(line["measured_kwh"], line["kwh"]),
        _costs(line["costs"], missing=line["unpriced_kwh"] > 0),
        render.amount(line["tokens"]) if line["tokens"] else "-",
        "-" if per_million is None else _kwh(per_million),
        _costs(line["costs_per_million_tokens"], missing=False),
    ]


def _remarks(summary: dict[str, Any]) -> Iterable[str]:
    total, idle = summary["total"], summary["without_run"]
    if total and total["unpriced_kwh"] > 0:
        yield (
            f"{_kwh(total['unpriced_kwh'])} kWh have no known price: their cost is unknown, and "
            "costs with a + are what is known of them. homerun prices tells why."
        )
    if total and total["forecast_kwh"] > 0:
        kwh = _kwh(total["forecast_kwh"])
        yield f"{kwh} kWh are rated by a forecast until their price is published."
    if total and total["estimated_kwh"] > 0:
        share = _share(total["estimated_kwh"], total["kwh"])
        yield f"{share} of the energy is estimated: no meter answered then."
    if idle:
        yield f"Besides, {_kwh(idle['kwh'])} kWh were drawn while no trainer ran."
    for item in summary["avoided"]:
        yield _avoided(item)


def _avoided(item: dict[str, Any]) -> str:
    head = (
        f"{item['run']}: the same tokens without a break at {item['always_on_watts']:.0f} W "
        f"would have taken {_kwh(item['always_on_kwh'])} kWh"
    )
    saved = item["avoided_cost"]
    if saved is None:
        return f"{head}; what they would have cost is unknown, for prices are missing."
    price = _money(item["always_on_cost"], item["currency"])
    return f"{head} and {price}; avoided: {_money(saved, item['currency'])}."


def _costs(costs: list[dict[str, Any]], *, missing: bool) -> str:
    text = ", ".join(_money(cost["amount"], cost["currency"]) for cost in costs)
    if not text:
        return "unknown" if missing else "-"
    return f"{text}+" if missing else text


def _money(amount: float, currency: str) -> str:
    digits = 2 if abs(amount) >= 1 or amount == 0 else 4
    return f"{amount:,.{digits}f} {currency}".strip()


def _kwh(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 10 else f"{value:.4f}"


def _share(part: float, whole: float) -> str:
    return render.percent(part / whole, 0) if whole else "-"


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def empty() -> str:
    """What an empty ledger says."""
    return (
        "The ledger is empty: no run has used energy under this daemon yet. "
        "It fills from the first minute of training on."
    )
