"""What make bench-recipes writes: a table, a picture, and the raw figures."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

REFERENCE = "fp32"
_MIB = 1 << 20

_NOTES = """
Difference: a recipe's validation loss minus that of fp32 with the same seed, so with the same
first weights and the same tokens; the picture shows each of them. Bits per byte count
text alone, the difference counts every token. Rows with adamw8 train the matrices by 8-bit AdamW
where the others use Muon: compare them, and qlora-4bit, with `bf16-8bit adamw8`.

Speed: one process takes a step of each recipe in turn on one thread; the ratio is taken round by
round. On a CPU it says little about a GPU: unpacking, stochastic rounding and 8-bit optimizer
state cost much more here against matmuls that have no tensor cores. Memory: bytes of live
tensors just before an update, residuals of the warm-down not included; RSS is that of a whole
training process, Python and PyTorch included.
"""


@dataclass(frozen=True)
class Report:
    """All that was measured."""

    #: the machine and the command
    machine: str
    size: dict[str, Any]
    #: one a cell
    cells: list[dict[str, Any]]
    #: tokens/s, their ratios and live bytes by row
    timed: dict[str, dict[str, Any]]

    def rows(self) -> list[str]:
        """Names in the order they were measured in."""
        return list(dict.fromkeys(cell["variant"] for cell in self.cells))

    def of(self, name: str, key: str) -> list[float]:
        """One figure of each of a row's cells."""
        return [cell[key] for cell in self.cells if cell["variant"] == name]

    def differences(self, name: str) -> list[float]:
        """Nats per token more than the reference, seed by seed."""
        reference = {
            cell["seed"]: cell["nats_per_token"]
            for cell in self.cells
            if cell["variant"] == REFERENCE
        }
        return [
            cell["nats_per_token"] - reference[cell["seed"]]
            for cell in self.cells
            if cell["variant"] == name and cell["seed"] in reference
        ]


def write(report: Report, out: Path) -> None:
    """recipes.md, recipes.svg and recipes.json in ``out``."""
    (out / "recipes.md").write_text(markdown(report), encoding="utf-8")
    (out / "recipes.svg").write_text(picture(report), encoding="utf-8")
    raw = {**asdict(report), "cells": [_rounded(cell) for cell in report.cells]}
    (out / "recipes.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")


def markdown(report: Report) -> str:
    """The table with what it takes to read it."""
    size = report.size
    tokens = size["micro_batches"] * size["micro_batch"] * size["sequence_length"]
    lines = [
        "# The precision recipes, measured",
        "",
        "```",
        report.machine,
        "```",
        "",
        f"Depth {size['depth']}, vocabulary {size['vocab_size']}, {size['steps']} steps of "
        f"{tokens} tokens ({size['micro_batches']} micro-batches of {size['micro_batch']} x "
        f"{size['sequence_length']}), learning rates times {size['lr_scale']:g}, "
        f"{'the default corpus' if size['corpus'] == 'default' else 'a corpus of its own'}; "
        f"validation on {size['eval_tokens']} tokens. "
        f"{_commits(report)}",
        "",
        "| recipe | bits per byte | difference to fp32, nats a token | tokens/s | ratio to bf16 "
        "| weights | gradients | optimizer | peak RSS |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(report, name) for name in report.rows()),
        "",
        "Medians, and in brackets the range over seeds or rounds. MiB of tensors: on the device, "
        "and after a plus sign in host memory where the recipe keeps them there.",
        _NOTES,
        "![difference to fp32 by recipe](recipes.svg)",
    ]
    return "\n".join(lines) + "\n"


def _row(report: Report, name: str) -> str:
    speeds = report.timed.get(name, {})
    live = speeds.get("live_bytes", {})
    cells = [
        name,
        _spread(report.of(name, "bits_per_byte"), "{:.4f}"),
        _spread(report.differences(name), "{:+.4f}"),
        _spread(speeds.get("tokens_per_second", []), "{:.0f}", whole=False),
        _spread(speeds.get("ratios", []), "{:.2f}"),
        _mib(live.get("weights", 0), 0),
        _mib(live.get("gradients_on_device", 0), live.get("gradients_on_host", 0)),
        _mib(live.get("optimizer_on_device", 0), live.get("optimizer_on_host", 0)),
        f"{statistics.median(report.of(name, 'peak_rss_bytes')) / _MIB:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], form: str, *, whole: bool = True) -> str:
    if not values:
        return "–"  # noqa: RUF001 - a dash for what was not measured
    median = form.format(statistics.median(values))
    if len(values) == 1 or not whole:
        return median
    return f"{median} ({form.format(min(values))} .. {form.format(max(values))})"


def _mib(on_device: int, on_host: int) -> str:
    text = f"{on_device / _MIB:.2f}"
    return f"{text} + {on_host / _MIB:.2f}" if on_host else text


def _commits(report: Report) -> str:
    counted = Counter(cell["commit"] for cell in report.cells)
    if len(counted) == 1:
        return f"Commit {next(iter(counted))}."
    each = ", ".join(f"{commit} ({count} cells)" for commit, count in counted.most_common())
    return f"Commits: {each}."


def _rounded(cell: dict[str, Any]) -> dict[str, Any]:
    losses = [round(loss, 4) for loss in cell["training_loss"]]
    return {**cell, "training_loss": losses, "seconds": round(cell["seconds"], 1)}


# --- the picture ----------------------------------------------------------------------------

_LEFT, _WIDTH, _LINE, _TOP = 170, 560, 26, 56
_RIGHT = 40


def picture(report: Report) -> str:
    """A dot for every seed, a stroke for the median; the further right, the worse."""
    rows = [(name, found) for name in report.rows() if (found := report.differences(name))]
    every = [value for _, found in rows for value in found]
    low, high = min(0.0, *every), max(0.01, *every)
    room = 0.05 * (high - low)
    low, high = low - room, high + room
    height = _TOP + _LINE * len(rows) + 24

    def x(value: float) -> float:
        return _LEFT + _WIDTH * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" '
        f'height="{height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="12" y="22" font-size="15">Validation loss against fp32, nats a token '
        "(left is better)</text>",
    ]
    for tick in _ticks(low, high):
        colour = "#888" if tick == 0 else "#ddd"
        parts += [
            f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP - 8}" y2="{height - 20}" '
            f'stroke="{colour}"/>',
            f'<text x="{x(tick):.1f}" y="{_TOP - 14}" text-anchor="middle" fill="#555" '
            f'font-size="11">{tick:+.3g}</text>',
        ]
    for index, (name, found) in enumerate(rows):
        y = _TOP + _LINE * index + _LINE / 2
        middle = x(statistics.median(found))
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y - 9}" y2="{y + 9}" '
            'stroke="#c44" stroke-width="2"/>',
            *(f'<circle cx="{x(value):.1f}" cy="{y}" r="4" fill="#369" fill-opacity="0.7"/>'
              for value in found),
        ]  # fmt: skip
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """Round values in the range, zero among them if it is inside."""
    step = next(
        unit * 10**power
        for power in range(-4, 4)
        for unit in (1, 2, 5)
        if (high - low) / (unit * 10**power) <= 8
    )
    first, last = int(low / step) - 1, int(high / step) + 1
    return [step * count for count in range(first, last + 1) if low <= step * count <= high]
