"""The planner bench's table and picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.planner import Row

NAMES = {
    "constant_cap": "best constant cap",
    "cheapest_hours": "cheapest hours a day",
    "daily_cap": "efficient cap + cheapest hours",
    "online": "homerun, known prices only",
    "foresight": "perfect foresight",
}
_COLOURS = ("#9aa5b1", "#c3b091", "#7a9cc6", "#2f855a", "#a0aec0")


def line(row: Row) -> str:
    """One row while it runs."""
    saved = "  ".join(f"{rule} {_percent(row.saved[rule])}" for rule in NAMES)
    late = "" if row.online_in_time else "  LATE"
    return f"{row.market[:18]:18} {row.slack:4.0%} {row.start}  {saved}  gap {row.gap:.4%}{late}"


def _percent(value: float | None) -> str:
    return "late" if value is None else f"{value * 100:+.1f}"


@dataclass(frozen=True)
class Report:
    """All rows, and how to show them."""

    top: str
    rows: Sequence[Row]
    timing: tuple[int, float, float]

    def ratios(self) -> list[float]:
        """What online planning gets of the saving of perfect foresight, where there is one."""
        return [
            row.saved["online"] / row.saved["foresight"]
            for row in self.rows
            if row.slack > 0 and row.saved["online"] is not None and row.saved["foresight"]
        ]

    def markdown(self) -> str:
        """Targets first, then the table."""
        parts = ["```", self.top, "```", "", *self._targets(), "", *self._table(), ""]
        return "\n".join(parts)

    def _targets(self) -> list[str]:
        ratios = self.ratios()
        gap = max(row.gap for row in self.rows)
        late = sum(not row.online_in_time for row in self.rows)
        worse = [
            f"{market} {slack:.0%}"
            for market, slack, rows in self._groups()
            if self._mean(rows, "online") < self._mean(rows, "constant_cap") - 1e-9
        ]
        slots, seconds, plan_gap = self.timing
        return [
            f"- gap to the certified bound: at most {gap:.4%} (target 0.05 %)",
            f"- online gets {statistics.median(ratios):.1%} of perfect foresight's saving in the "
            f"median, {min(ratios):.1%} at least (target 92 %; {len(ratios)} runs with slack)",
            f"- deadlines met: {len(self.rows) - late} of {len(self.rows)}",
            f"- worse in the mean than the best constant cap: {', '.join(worse) or 'nowhere'}",
            f"- {slots} quarter-hours (40 days) planned in {seconds:.2f} s of CPU time, "
            f"gap {plan_gap:.4%} (target: under a second)",
        ]

    def _groups(self) -> list[tuple[str, float, list[Row]]]:
        keys = dict.fromkeys((row.market, row.slack) for row in self.rows)
        return [
            (market, slack, [r for r in self.rows if (r.market, r.slack) == (market, slack)])
            for market, slack in keys
        ]

    @staticmethod
    def _mean(rows: Sequence[Row], rule: str) -> float:
        values = [value for row in rows if (value := row.saved[rule]) is not None]
        return statistics.mean(values) if values else float("nan")

    def _table(self) -> list[str]:
        heads = " | ".join(NAMES.values())
        lines = [
            f"| prices | slack | runs | always-on cost | {heads} | starts: cap + hours / homerun |",
            "|---|---|---|---|" + "---|" * len(NAMES) + "---|",
        ]
        for market, slack, rows in self._groups():
            cells = []
            for rule in NAMES:
                late = sum(row.saved[rule] is None for row in rows)
                cells.append(
                    f"{self._mean(rows, rule) * 100:+.1f} %" + (f" ({late} late)" if late else "")
                )
            always = statistics.mean(row.always_on_cost for row in rows)
            starts = " / ".join(
                f"{statistics.mean(row.starts.get(rule, 0) for row in rows):.0f}"
                for rule in ("daily_cap", "online")
            )
            lines.append(
                f"| {market} | {slack:.0%} | {len(rows)} | {always:.2f} {rows[0].currency} | "
                f"{' | '.join(cells)} | {starts} |"
            )
        return lines

    def svg(self) -> str:
        """Bars of the mean saving by slack, over all files."""
        slacks = sorted({row.slack for row in self.rows})
        width, height, left, bottom = 760, 320, 50, 60
        means = {
            (slack, rule): self._mean([r for r in self.rows if r.slack == slack], rule) * 100
            for slack in slacks
            for rule in NAMES
        }
        top = max(10.0, *means.values()) * 1.1
        low = min(0.0, *means.values())
        scale = (height - bottom - 30) / (top - low)
        zero = height - bottom + low * scale
        group = (width - left - 10) / len(slacks)
        bar = group / (len(NAMES) + 1.5)
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 30}" '
            'font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            f'<text x="{left}" y="18">Saved against always-on, mean over all files, %</text>',
        ]
        for number in range(0, int(top) + 1, 10):
            y = zero - number * scale
            out.append(
                f'<line x1="{left}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e8f0"/>'
                f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{number}</text>'
            )
        for place, slack in enumerate(slacks):
            x = left + place * group + bar * 0.5
            for colour, rule in zip(_COLOURS, NAMES, strict=True):
                value = means[slack, rule]
                y = zero - max(value, 0.0) * scale
                out.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar * 0.9:.1f}" '
                    f'height="{max(0.5, abs(value) * scale):.1f}" fill="{colour}"/>'
                    f'<text x="{x + bar * 0.45:.1f}" y="{y - 3:.1f}" text-anchor="middle" '
                    f'font-size="10">{value:.1f}</text>'
                )
                x += bar
            middle = left + (place + 0.45) * group
            out.append(
                f'<text x="{middle:.1f}" y="{height - bottom + 22}" text-anchor="middle">'
                f"slack {slack:.0%}</text>"
            )
        for place, (colour, name) in enumerate(zip(_COLOURS, NAMES.values(), strict=True)):
            x, y = left + (place % 3) * 235, height - 14 + (place // 3) * 20
            out.append(
                f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
                f'<text x="{x + 18}" y="{y}">{name}</text>'
            )
        return "\n".join([*out, "</svg>", ""])
