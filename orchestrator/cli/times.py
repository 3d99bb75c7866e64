"""Times and spans as people write and read them: local zone, 24 hours, zone named."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from orchestrator.durations import parse_seconds
from orchestrator.errors import Invalid

_TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_HELP = "write 18:00, or 2026-12-24T18:00, or use --for 2h"


def parse_for(text: str) -> float:
    """Seconds of ``--for``; raises Invalid."""
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise Invalid(str(error), "for example: --for 90m") from None
    if seconds <= 0:
        raise Invalid(f"--for {text} is over before it begins", "for example: --for 90m")
    return seconds


def parse_until(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The moment of ``--until`` in UTC.

    A time of day means the next such one on the clock on the wall, across midnight and changes
    of daylight saving time. An ISO 8601 date-time without an offset is local.

    Args:
        zone: the local zone; None takes the machine's.

    Raises:
        Invalid: no such time, or not in the future.
    """
    if _TIME_OF_DAY.fullmatch(text.strip()):
        return _next(text.strip(), now, zone)
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(f"no time: {text!r}", _HELP) from None
    when = (when if when.tzinfo else _aware(when, zone)).astimezone(UTC)
    if when <= now:
        raise Invalid(f"{text} has passed", _HELP)
    return when


def _next(text: str, now: datetime, zone: tzinfo | None) -> datetime:
    hours, minutes, seconds = [*map(int, text.split(":")), 0][:3]
    try:
        wanted = time(hours, minutes, seconds)
    except ValueError:
        raise Invalid(f"no time: {text!r}", _HELP) from None
    today = now.astimezone(zone).date()
    # Two days ahead: 02:30 may be skipped tonight and 24 hours may not reach the next one.
    days = (today + timedelta(days=ahead) for ahead in range(3))
    return min(when for day in days for when in _moments(day, wanted, zone) if when > now)


def _moments(day: date, wanted: time, zone: tzinfo | None) -> list[datetime]:
    """Once a day; twice when the clocks go back over it; in a skipped hour, as if not skipped."""
    first = _aware(datetime.combine(day, wanted), zone).astimezone(UTC)
    second = _aware(datetime.combine(day, wanted.replace(fold=1)), zone).astimezone(UTC)
    return [first, second] if second > first else [first]


def _aware(naive: datetime, zone: tzinfo | None) -> datetime:
    return naive.replace(tzinfo=zone) if zone else naive.astimezone()


def from_json(text: str) -> datetime:
    """An aware time from the API."""
    return datetime.fromisoformat(text)


def moment(when: datetime, now: datetime, *, zone: tzinfo | None = None, named: bool = True) -> str:
    """``18:04 CET`` today, ``Thu 24 Dec 18:04 CET`` otherwise, with the year when it differs."""
    local, today = when.astimezone(zone), now.astimezone(zone)
    text = f"{local:%H:%M}"
    if local.year != today.year:
        text = f"{local.day} {local:%b %Y} {text}"
    elif local.date() != today.date():
        text = f"{local:%a} {local.day} {local:%b} {text}"
    return f"{text} {local.tzname()}" if named else text


def stamp(when: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """``18:04:10`` today, ``1 Dec 18:04`` otherwise."""
    local = when.astimezone(zone)
    if local.date() == now.astimezone(zone).date():
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b %H:%M}"


def short_stamp(when: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """``18:04:10`` for what is less than 20 hours old, ``1 Dec`` otherwise."""
    local = when.astimezone(zone)
    if now - when < timedelta(hours=20):
        return f"{local:%H:%M:%S}"
    return f"{local.day} {local:%b}"


def span(seconds: float) -> str:
    """The two largest units: ``45 s``, ``1 min 40 s``, ``2 h 10 min``, ``12 d 4 h``."""
    whole = max(0, round(seconds))
    if whole >= 600:
        whole = round(whole / 60) * 60
    if whole >= 86_400 * 3:
        whole = round(whole / 3600) * 3600
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def until(when: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """``18:00 CET (in 2 h)``."""
    return f"{moment(when, now, zone=zone)} (in {span((when - now).total_seconds())})"


def ago(when: datetime, now: datetime) -> str:
    """``3 min ago``; a clock that was set back makes it ``just now``."""
    seconds = (now - when).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 1 else "just now"
