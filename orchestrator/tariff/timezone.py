"""Time zones of tariffs: IANA names, and fixed offsets for who keeps standard time all year."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_FIXED = re.compile(r"UTC(?:([+-])(\d{1,2})(?::?([0-5]\d))?)?", re.IGNORECASE)
_FURTHEST = timedelta(hours=14)


def zone_of(text: str) -> tzinfo:
    """``Europe/Berlin``, ``UTC``, ``UTC-8`` (eight hours behind UTC), ``UTC+05:30``.

    Raises:
        ValueError: no such zone, or no zone database on this machine.
    """
    fixed = _FIXED.fullmatch(text.strip())
    if fixed:
        sign, hours, minutes = fixed.groups()
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        if offset > _FURTHEST:
            raise ValueError(f"no time zone {text!r}: no offset is beyond 14 hours")
        return timezone(-offset if sign == "-" else offset) if offset else UTC
    try:
        return ZoneInfo(text.strip())
    except (OSError, ValueError, LookupError):
        raise ValueError(
            f'no time zone {text!r}; write an IANA name such as "Europe/Berlin", or "UTC-8" '
            "(if none is found: apt install tzdata)"
        ) from None


def shifted(moment: datetime, days: int, zone: tzinfo) -> datetime:
    """The same time on the wall so many days later, in UTC; a skipped hour counts as not skipped.

    Of a repeated hour the first half is taken.
    """
    return (moment.astimezone(zone) + timedelta(days=days)).astimezone(UTC)
