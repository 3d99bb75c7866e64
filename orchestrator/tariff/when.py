"""When a zone or a tier holds: days, hours, months and dates on the clock on the wall."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

#: borders lie on these, which keeps every slot a whole number of them
QUARTER_MINUTES = 15
_DAY_MINUTES = 24 * 60
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
#: January is 1, as everywhere
_MONTHS = (
    "", "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_HOLIDAY = "ph"
_TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?")
_DATE = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")

#: a year of zero holds every year
YearDay = tuple[int, int, int]


@dataclass(frozen=True)
class When:
    """All of its conditions must hold; an empty one always does."""

    days: frozenset[int] = frozenset()
    holidays: bool = False
    #: minutes since midnight, half-open; a span over midnight stands here as two
    hours: tuple[tuple[int, int], ...] = ()
    months: frozenset[int] = frozenset()
    dates: tuple[tuple[YearDay, YearDay], ...] = ()

    @classmethod
    def parse(cls, days: str, hours: str, months: str, dates: Iterable[str]) -> When:
        """``Mo-Fr,PH``, ``2:30-5,18-21``, ``Oct-Mar``, ``12-24..12-26``; raises ValueError."""
        names = [part.strip() for part in days.split(",") if part.strip()]
        weekdays = [name for name in names if name.lower() != _HOLIDAY]
        return cls(
            days=_cyclic(weekdays, _weekday, 7),
            holidays=len(weekdays) < len(names),
            hours=parse_hours(hours),
            months=_cyclic([part for part in months.split(",") if part.strip()], _month, 12),
            dates=tuple(_date_range(text) for text in dates),
        )

    def holds(self, local: datetime, *, holiday: bool) -> bool:
        """Whether it holds at this time on the wall. Hours belong to the day that they lie in."""
        return (
            self._on_day(local, holiday)
            and self._in_hours(local)
            and (not self.months or local.month in self.months)
            and (not self.dates or any(_within(local.date(), span) for span in self.dates))
        )

    def _on_day(self, local: datetime, holiday: bool) -> bool:
        if not self.days and not self.holidays:
            return True
        return local.weekday() in self.days or (self.holidays and holiday)

    def _in_hours(self, local: datetime) -> bool:
        if not self.hours:
            return True
        minute = local.hour * 60 + local.minute
        return any(start <= minute < end for start, end in self.hours)


def parse_hours(text: str) -> tuple[tuple[int, int], ...]:
    """``22-6,12:30-14`` as spans of minutes since midnight; raises ValueError."""
    spans: list[tuple[int, int]] = []
    for part in text.split(","):
        if not part.strip():
            continue
        first, dash, last = part.partition("-")
        if not dash:
            raise ValueError(f"no hours: {part.strip()!r}; write them as 18-21 or 2:30-5")
        start, end = _minute(first), _minute(last)
        if start in (end, _DAY_MINUTES):
            raise ValueError(f"no hours: {part.strip()!r} is empty; for the whole day write 0-24")
        spans += [(start, end)] if start < end else [(start, _DAY_MINUTES), (0, end)]
    return tuple(span for span in spans if span[0] < span[1])


def _minute(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    minute = int(match.group(1)) * 60 + int(match.group(2) or 0) if match else -1
    if not 0 <= minute <= _DAY_MINUTES or (match and int(match.group(2) or 0) >= 60):
        raise ValueError(f"no time of day: {text.strip()!r}; write it as 18, 2:30 or 24")
    if minute % QUARTER_MINUTES:
        raise ValueError(f"{text.strip()} is not on a quarter of an hour")
    return minute


def _cyclic(parts: Iterable[str], index: Callable[[str], int], size: int) -> frozenset[int]:
    found: set[int] = set()
    for part in parts:
        first, dash, last = part.partition("-")
        start = index(first)
        end = index(last) if dash else start
        # "Oct-Mar" goes over the end of the year
        found.update(start + step for step in range((end - start) % size + 1))
    return frozenset((place - 1) % size + 1 if size == 12 else place % size for place in found)


def _weekday(text: str) -> int:
    return _named(text, _DAYS, 2, "day", "Mo, Tu, We, Th, Fr, Sa, Su, or PH for a public holiday")


def _month(text: str) -> int:
    return _named(text, _MONTHS, 3, "month", "Jan to Dec")


def _named(text: str, names: Sequence[str], least: int, noun: str, known: str) -> int:
    word = text.strip().lower()
    for place, name in enumerate(names):
        if len(word) >= least and name.startswith(word):
            return place
    raise ValueError(f"no such {noun}: {text.strip()!r}; write {known}")


def _date_range(text: str) -> tuple[YearDay, YearDay]:
    first, dots, last = text.partition("..")
    start = _year_day(first)
    end = _year_day(last) if dots else start
    if bool(start[0]) != bool(end[0]) or (start[0] and end < start):
        raise ValueError(
            f"no span of dates: {text!r}; write 2026-12-24..2027-01-06 or 12-24..12-26"
        )
    return start, end


def _year_day(text: str) -> YearDay:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"no date: {text.strip()!r}; write it as 2026-12-24, or 12-24 for all years"
        )
    year, month, day = (int(part or 0) for part in match.groups())
    try:
        date(year or 2024, month, day)
    except ValueError:
        raise ValueError(f"no such date: {text.strip()!r}") from None
    return year, month, day


def _within(day: date, span: tuple[YearDay, YearDay]) -> bool:
    start, end = span
    here = (day.year if start[0] else 0, day.month, day.day)
    if start <= end:
        return start <= here <= end
    return here >= start or here <= end
