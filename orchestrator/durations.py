"""Durations as people write them: 90s, 15m, 2h, 1d, 1h30m. Standard library only."""

from __future__ import annotations

import re

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"\s*(?:{_PART.pattern}\s*)+")

#: ten years; a longer hold or timeout is a slip of the finger
LONGEST_SECONDS = 10 * 365 * 86_400.0


def parse_seconds(text: str) -> float:
    """Seconds in ``text``: numbers with the units ms, s, m, h, d, w, largest first or not.

    Raises:
        ValueError: no such duration, the same unit twice, or longer than ten years.
    """
    if not _WHOLE.fullmatch(text.lower()):
        raise ValueError(f"no duration: {text!r}; write it as 90s, 15m, 2h, 1d or 1h30m")
    parts = _PART.findall(text.lower())
    units = [unit for _, unit in parts]
    if len(set(units)) != len(units):
        raise ValueError(f"no duration: {text!r} names the same unit twice")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{text!r} is longer than ten years")
    return seconds


def format_seconds(seconds: float) -> str:
    """The shortest text that ``parse_seconds`` reads back to the same whole milliseconds."""
    milliseconds = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        size = round(_UNIT_SECONDS[unit] * 1000)
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
