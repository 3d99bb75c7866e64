"""What crosses between the daemon and ``homerun-power``: one JSON object a line, small ones.

The helper speaks first: ``{"ok": true}``, or a refusal. Requests are ``{"do": "reset"}``,
``{"do": "limits"}`` and ``{"do": "set", "watts": 140.0}``; answers ``{"ok": true, ...}``, or
``{"ok": false, "error": WORD, "text": WHY}``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

#: the longest line, its end included
LINE_BYTES = 1024
#: where the unit's socket is
SOCKET = "/run/homerun-power/socket"

#: outside of the card's own range
OUT_OF_RANGE = "range"
#: the helper itself may not, or the card cannot
NO_RIGHT = "right"
#: the card does not answer
LOST = "lost"
#: no request that is known
MALFORMED = "request"
#: not this user, or too many at once
REFUSED = "refused"


class MalformedLine(ValueError):
    """A line that is no request, or no answer."""


@dataclass(frozen=True)
class Request:
    """One thing that a client asks for; ``watts`` only with "set"."""

    do: str
    watts: float = 0.0


def encode(values: dict[str, Any]) -> bytes:
    """As a line."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def request(line: bytes) -> Request:
    """A client's line. Raises MalformedLine."""
    values = decode(line)
    do, watts = values.get("do"), watts_of(values, "watts")
    if do in ("reset", "limits") and set(values) == {"do"}:
        return Request(do)
    if do == "set" and set(values) == {"do", "watts"} and watts is not None and abs(watts) < 1e6:
        return Request(do, watts)
    raise MalformedLine('neither {"do": "set", "watts": N} nor {"do": "reset" or "limits"}')


def decode(line: bytes) -> dict[str, Any]:
    """Any line as an object. Raises MalformedLine."""
    try:
        values = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedLine("the line is not JSON") from None
    if not isinstance(values, dict):
        raise MalformedLine("the line is no object")
    return values


def watts_of(values: dict[str, Any], name: str) -> float | None:
    """A power; None where there is none that is a number."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
