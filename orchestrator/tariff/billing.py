"""Billing periods: one or two months from one meter reading to the next."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo


@dataclass(frozen=True)
class Billing:
    """``day``: of the meter reading, the last of the month where it has no such day."""

    day: int = 1
    months: int = 1
    #: with two months: a month in which a period begins
    first_month: int = 1

    def period(self, moment: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
        """The period that holds ``moment``: from local midnight to local midnight, aware."""
        local = moment.astimezone(zone)
        month = local.year * 12 + local.month - 1
        if local.date() < self._reading(month):
            month -= 1
        month -= (month - (self.first_month - 1)) % self.months
        return (
            datetime.combine(self._reading(month), time(), zone),
            datetime.combine(self._reading(month + self.months), time(), zone),
        )

    def _reading(self, month: int) -> date:
        """``month`` counts from year 0."""
        year, index = divmod(month, 12)
        last = calendar.monthrange(year, index + 1)[1]
        return date(year, index + 1, min(self.day, last))
