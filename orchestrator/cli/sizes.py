"""Models, token counts, cards and deadlines as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

from orchestrator.durations import parse_seconds
from orchestrator.errors import Invalid
from trainer.contract import toml
from trainer.contract.spec import ModelSpec
from trainer.sizing import CARDS, Card, card_wanted, is_real_depth, nearest_depth, parameters

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_NUMBER = re.compile(r"(\d[\d_,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([kmgbt]?)", re.IGNORECASE)
_DEPTH = re.compile(r"(?:nanochat[- ]?)?d(?:epth)?[- =]?(\d+)", re.IGNORECASE)
_MOST_TOKENS = 10**15


def parse_count(text: str, what: str = "number") -> int:
    """``38B``, ``1.3b``, ``38e9``, ``524_288`` as a whole number; raises Invalid."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise Invalid(f"no {what}: {text!r}", "write it as 38B, 500M or 38e9")
    number = float(match[1].replace("_", "").replace(",", "")) * _UNITS[match[2].lower()]
    if not 1 <= number <= _MOST_TOKENS:
        raise Invalid(f"{what} {text!r} is out of range", f"between 1 and {_MOST_TOKENS:.0e}")
    return round(number)


def parse_model(text: str) -> tuple[ModelSpec, str]:
    """The model of ``d32`` or ``about 1.3B``, and a remark when it is not quite what was asked.

    Raises:
        Invalid: neither a depth nor a size.
    """
    wanted = text.strip().removeprefix("about ").removeprefix("~").strip()
    depth = _DEPTH.fullmatch(wanted)
    if depth is not None:
        return _by_depth(int(depth[1]), text)
    if _NUMBER.fullmatch(wanted) is None:
        raise Invalid(f"no model: {text!r}", "write a depth, as d32, or a size, as 1.3B")
    size = parse_count(wanted, "model size")
    if size < 1e6:
        raise Invalid(f"a model of {size:,} parameters is no nanochat", "write d32 or 1.3B")
    model = ModelSpec(depth=nearest_depth(size))
    return model, f"the nearest real model to {wanted} is d{model.depth}, {parameters(model):,}"


def _by_depth(depth: int, text: str) -> tuple[ModelSpec, str]:
    if not 1 <= depth <= 256:
        raise Invalid(f"no model: {text!r}", "depths go from 1 to 256")
    if is_real_depth(depth):
        return ModelSpec(depth=depth), ""
    near = ModelSpec(depth=depth + 1)
    raise Invalid(
        f"d{depth} does not exist: its {64 * depth} channels do not divide into equal heads",
        f"take d{depth - 1} or d{depth + 1} ({parameters(near) / 1e9:.2f} B)",
    )


def parse_card(text: str) -> Card:
    """The card of ``rtx4070`` or ``4070 Ti SUPER``; raises Invalid."""
    card = card_wanted(text)
    if card is not None:
        return card
    names = {name.lower().replace(" ", ""): name for name in CARDS}
    hint = toml.nearest(text.lower().replace(" ", ""), names)
    known = f"known are {', '.join(names)}"
    raise Invalid(f"no such card: {text!r}", hint or known)


def parse_deadline(text: str, now: datetime, zone: tzinfo | None = None) -> float:
    """Seconds until ``30d``, ``6w`` or the end of ``2027-01-31``; raises Invalid.

    Args:
        zone: the local zone, in which the day ends; None takes the machine's.
    """
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = (_end_of_day(text, zone) - now).total_seconds()
    if seconds <= 0:
        raise Invalid(f"the deadline {text} has passed", "for example: --deadline 30d")
    return seconds


def _end_of_day(text: str, zone: tzinfo | None) -> datetime:
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").date() + timedelta(days=1)  # noqa: DTZ007 - a day
    except (ValueError, OverflowError):
        raise Invalid(
            f"no deadline: {text!r}", "write a span, as 30d, or a day, as 2027-01-31"
        ) from None
    midnight = datetime.combine(day, time())
    aware = midnight.replace(tzinfo=zone) if zone else midnight.astimezone()
    return aware.astimezone(UTC)
