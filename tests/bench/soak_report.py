"""What a soak measured, judged: does anything grow without an end? Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 2.0**20
#: what the first third of a soak does to memory is warming up
_WARM = 1 / 3
#: growth of the level between the warm middle and the end: so much is noise, so much is a leak
_NOISE_RATIO, _NOISE_BYTES = 0.01, 1.5 * MIB
_LEAK_RATIO, _LEAK_BYTES = 0.05, 8 * MIB
_COUNT = 3.0


@dataclass(frozen=True)
class Look:
    """One sample. ``at`` is in hours since the start."""

    at: float
    values: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One quantity over the whole soak."""

    name: str
    unit: str
    first: float
    middle: float
    last: float
    highest: float
    #: an hour, or a simulated day; by Theil and Sen, so that a peak does not bend it
    slope: float
    #: level, grows, unsettled (too short to tell), or "by rate" for what grows with the work done
    verdict: str

    @property
    def good(self) -> bool:
        """Whether nothing speaks against going on like this for a month."""
        return self.verdict != "grows"


def row(name: str, looks: Sequence[Look], kind: str) -> Row:
    """Judge one quantity.

    Args:
        kind: "memory" in bytes, "count" of handles or threads, or "size" of files in bytes, which
            may grow with what is written into them and is judged by its rate elsewhere.
    """
    warm = [look for look in looks if look.at >= looks[-1].at * _WARM]
    values = [look.values[name] for look in warm]
    half = len(values) // 2
    middle = statistics.median(values[: max(1, half)])
    last = statistics.median(values[half:])
    verdict = "by rate"
    if kind == "memory":
        noise = max(_NOISE_BYTES, middle * _NOISE_RATIO)
        leak = max(_LEAK_BYTES, middle * _LEAK_RATIO)
        grown = last - middle
        verdict = "level" if grown <= noise else "unsettled" if grown <= leak else "grows"
    elif kind == "count":
        verdict = "level" if last - middle <= _COUNT else "grows"
    unit = 1.0 if kind == "count" else MIB
    return Row(
        name,
        "" if kind == "count" else "MiB",
        looks[0].values[name] / unit,
        middle / unit,
        last / unit,
        max(look.values[name] for look in looks) / unit,
        theil_sen([(look.at, look.values[name] / unit) for look in warm]),
        verdict,
    )


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Sen 1968); 0 for fewer than two points."""
    if len(points) > 400:
        stride = len(points) // 400 + 1
        points = points[::stride]
    slopes = [
        (b[1] - a[1]) / (b[0] - a[0])
        for number, a in enumerate(points)
        for b in points[number + 1 :]
        if b[0] > a[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def verdict(rows: Sequence[Row]) -> str:
    """All in one sentence."""
    grown = [item.name for item in rows if not item.good]
    unsettled = [item.name for item in rows if item.verdict == "unsettled"]
    if grown:
        return f"GROWS: {', '.join(grown)}."
    if unsettled:
        return (
            f"nothing leaks, but too short to tell whether it levels off: {', '.join(unsettled)}."
        )
    return "nothing grows without an end."


def table(rows: Sequence[Row], per: str) -> list[str]:
    """Markdown."""
    lines = [
        f"| | first | warm | last | highest | {per} | verdict |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for item in rows:
        numbers = (item.first, item.middle, item.last, item.highest)
        digits = 1 if item.unit else 0
        cells = " | ".join(f"{number:,.{digits}f}" for number in numbers)
        title = f"{item.name}, {item.unit}" if item.unit else item.name
        lines.append(f"| {title} | {cells} | {item.slope:+.2f} | {item.verdict} |")
    return lines
