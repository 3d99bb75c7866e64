"""Values as text for a terminal: numbers, bars, sparklines, tables."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Glyphs:
    """The signs that a terminal can show."""

    full: str
    empty: str
    #: from low to high
    levels: str
    ellipsis: str
    good: str
    warning: str
    bad: str


UNICODE = Glyphs("█", "░", "▁▂▃▄▅▆▇█", "…", "✓", "!", "✗")
ASCII = Glyphs("#", ".", "_.-=+*#", "...", "ok", "!", "X")


def clean(text: str) -> str:
    """One line without control characters: nothing from outside may steer the terminal."""
    return "".join(sign if _harmless(sign) else " " for sign in text)


def clean_block(text: str) -> str:
    """The same, with line breaks kept and tabs expanded."""
    return "\n".join(clean(line) for line in text.expandtabs(4).split("\n"))


def _harmless(sign: str) -> bool:
    # Cc: escapes and the like; Cf: invisible, among them those that turn the writing direction
    return unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def cells(text: str) -> int:
    """Columns that ``text`` takes up."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(sign) for sign in text)


def _cells_of(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def fit(text: str, width: int, glyphs: Glyphs = UNICODE) -> str:
    """``text`` cut to ``width`` columns, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    kept, used = "", len(glyphs.ellipsis)
    for sign in text:
        used += _cells_of(sign)
        if used > width:
            break
        kept += sign
    return kept.rstrip() + glyphs.ellipsis


def pieces(text: str, width: int) -> list[str]:
    """``text`` cut into pieces of at most ``width`` columns, whatever it says."""
    found, used = [""], 0
    for sign in text:
        used += _cells_of(sign)
        if used > width:
            found.append("")
            used = _cells_of(sign)
        found[-1] += sign
    return found


def wrap(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns; words that are too long are broken."""
    # textwrap counts characters, so give wide scripts half the room
    room = width if cells(text) == len(text) else width // 2
    return textwrap.wrap(text, max(1, room)) or [""]


def bar(fraction: float, width: int, glyphs: Glyphs) -> str:
    """A bar of ``width`` columns; full only when everything is done."""
    done = min(1.0, max(0.0, fraction))
    full = math.floor(done * width)
    return glyphs.full * full + glyphs.empty * (width - full)


def sparkline(values: Sequence[float | None], width: int, glyphs: Glyphs) -> str:
    """The newest ``width`` known values, each as one sign between lowest and highest."""
    known = [value for value in values if value is not None and math.isfinite(value)][-width:]
    if not known:
        return ""
    low, high = min(known), max(known)
    top = len(glyphs.levels) - 1
    scale = top / (high - low) if high > low else 0.0
    return "".join(glyphs.levels[round((value - low) * scale)] for value in known)


def count(number: float) -> str:
    """``1,204``."""
    return f"{number:,.0f}"


def amount(number: float) -> str:
    """``3.1 M``: a large number by its size."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def size(number_of_bytes: float) -> str:
    """``38 MB``, in powers of 1000."""
    return f"{amount(number_of_bytes)}B" if number_of_bytes >= 1000 else f"{number_of_bytes:.0f} B"


def energy(joules: float) -> str:
    """``12.3 Wh``, ``4.56 kWh``."""
    watt_hours = joules / 3600.0
    if watt_hours >= 1000:
        return f"{watt_hours / 1000:,.2f} kWh"
    return f"{watt_hours:.1f} Wh" if watt_hours >= 1 else f"{watt_hours:.2f} Wh"


def percent(fraction: float, digits: int = 1) -> str:
    """``42.1 %``, cut and not rounded: 100 % only when everything is done."""
    scale = 10**digits
    return f"{math.floor(fraction * 100 * scale + 1e-9) / scale:.{digits}f} %"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    right: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, glyphs: Glyphs = UNICODE
) -> list[str]:
    """Aligned lines under a dim header; the last column is cut to what room is left."""
    texts = [[clean(cell) for cell in row] for row in rows]
    titles = [column.title for column in columns]
    widths = [max(cells(row[i]) for row in [titles, *texts]) for i in range(len(columns))]
    room = width - sum(widths[:-1]) - 2 * (len(widths) - 1)
    widths[-1] = max(len(titles[-1]), min(widths[-1], room))

    def line(row: Sequence[str]) -> str:
        parts = []
        for cell, column, room in zip(row, columns, widths, strict=True):
            text = fit(cell, room, glyphs)
            padding = " " * (room - cells(text))
            parts.append(padding + text if column.right else text + padding)
        return fit("  ".join(parts).rstrip(), width, glyphs)

    return [click.style(line(titles), dim=True), *(line(row) for row in texts)]
