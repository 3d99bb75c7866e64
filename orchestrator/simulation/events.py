"""What happens in the house: outages and games, as spans of time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from orchestrator.durations import parse_seconds
from orchestrator.errors import Invalid

_MONTH = timedelta(days=30)
_WEEK = timedelta(days=7)
_MEAN_OUTAGE_HOURS = 1.0
_FIX = "give a number, as 2, or times, as 2026-01-03T18:00/2h,2026-01-09T07:30/20m"


@dataclass(frozen=True, order=True)
class Span:
    """Something that lasts, half-open [start, end), in UTC."""

    start: datetime
    end: datetime


def outages(text: str, start: datetime, end: datetime, zone: tzinfo, seed: int) -> list[Span]:
    """``text`` is a number a month, drawn from the seed, or times with their lengths.

    Raises:
        Invalid: it is neither.
    """
    count = _number(text)
    if count is None:
        return _listed(text, zone, "--outages")
    # A generator of its own, so that games do not move when outages are added.
    dice = random.Random(f"outages-{seed}")  # noqa: S311 - a simulation, no secret
    found = []
    for moment in _moments(dice, count, _MONTH, start, end):
        hours = min(12.0, max(0.05, dice.expovariate(1 / _MEAN_OUTAGE_HOURS)))
        found.append(Span(moment, moment + timedelta(minutes=round(hours * 60))))
    return _merged(found)


def games(text: str, start: datetime, end: datetime, zone: tzinfo, seed: int) -> list[Span]:
    """``text`` is a number a week, played in the evening, or times with their lengths.

    Raises:
        Invalid: it is neither.
    """
    count = _number(text)
    if count is None:
        return _listed(text, zone, "--games")
    dice = random.Random(f"games-{seed}")  # noqa: S311 - a simulation, no secret
    found = []
    for moment in _moments(dice, count, _WEEK, start, end):
        evening = moment.astimezone(zone).replace(
            hour=dice.randint(18, 21), minute=dice.choice((0, 15, 30, 45)), second=0, microsecond=0
        )
        begin = evening.astimezone(UTC)
        found.append(Span(begin, begin + timedelta(minutes=dice.randint(60, 180))))
    return _merged([span for span in found if span.start >= start])


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not 0.0 <= number <= 1000.0:
        raise Invalid(f"{text} is no number of events", _FIX)
    return number


def _listed(text: str, zone: tzinfo, option: str) -> list[Span]:
    found = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        when, slash, length = item.partition("/")
        try:
            moment = datetime.fromisoformat(when)
            seconds = parse_seconds(length) if slash else 0.0
        except ValueError as error:
            raise Invalid(f"{option}: {item!r}: {error}", _FIX) from None
        if seconds <= 0.0:
            raise Invalid(f"{option}: {item!r} lasts no time", _FIX)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        found.append(Span(moment, moment + timedelta(seconds=seconds)))
    return _merged(found)


def _moments(
    dice: random.Random, rate: float, per: timedelta, start: datetime, end: datetime
) -> list[datetime]:
    """A Poisson process, on full minutes."""
    found: list[datetime] = []
    moment = start
    while rate > 0.0:
        moment += dice.expovariate(rate) * per
        if moment >= end:
            break
        found.append(moment.replace(second=0, microsecond=0))
    return found


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged
