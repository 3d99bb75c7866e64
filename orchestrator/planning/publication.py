"""What was published when: the part of a price series that a planner may know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Publication:
    """A day-ahead market: at ``at`` on its own clock, prices up to the end of the next day."""

    zone: ZoneInfo
    at: time = time(13, 0)
    #: when its delivery day ends; midnight unless told otherwise
    day_ends: time = time(0, 0)

    def known_until(self, now: datetime) -> datetime:
        """Prices are published up to here at ``now``; aware, in UTC."""
        local = now.astimezone(self.zone)
        published = local.time() >= self.at
        ahead = (2 if published else 1) - (self.day_ends != time(0, 0))
        day = local.date() + timedelta(days=ahead)
        return max(now, datetime.combine(day, self.day_ends, self.zone).astimezone(UTC))

    def next_after(self, now: datetime) -> datetime:
        """The next time that something is published."""
        local = now.astimezone(self.zone)
        for ahead in range(3):
            day = local.date() + timedelta(days=ahead)
            moment = datetime.combine(day, self.at, self.zone).astimezone(UTC)
            if moment > now:
                return moment
        raise AssertionError("a day has a publication")
