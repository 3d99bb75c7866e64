"""When a market publishes, and so how far its prices are known at a time. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from orchestrator.tariff.markets import Market
from orchestrator.tariff.timezone import zone_of

_DAY = timedelta(days=1)


def market_day(market: Market, day: date) -> tuple[datetime, datetime]:
    """The delivery day of a date on the market's clock, in UTC: 23, 24 or 25 hours."""
    return _border(market, day), _border(market, day + _DAY)


def today(market: Market, now: datetime) -> date:
    """The date of the delivery day that holds ``now``."""
    day = now.astimezone(zone_of(market.zone)).date()
    return day + _DAY if now >= _border(market, day + _DAY) else day


def published_until(market: Market, now: datetime) -> datetime | None:
    """How far prices should be known at ``now``; None for one that publishes all the time."""
    if market.publishes is None:
        return None
    local = now.astimezone(zone_of(market.zone))
    days = 2 if local.time() >= market.publishes else 1
    return _border(market, local.date() + days * _DAY)


def next_publication(market: Market, now: datetime) -> datetime | None:
    """The next time after ``now`` at which the market usually publishes."""
    if market.publishes is None:
        return None
    zone = zone_of(market.zone)
    day = now.astimezone(zone).date()
    moments = (datetime.combine(day + n * _DAY, market.publishes, zone) for n in range(3))
    return next(moment for moment in moments if moment > now).astimezone(UTC)


def _border(market: Market, day: date) -> datetime:
    """Where the delivery day ``day`` begins; Agile's begins at 23:00 on the day before."""
    if market.day_ends == time(0, 0):
        local = datetime.combine(day, market.day_ends, zone_of(market.zone))
    else:
        local = datetime.combine(day - _DAY, market.day_ends, zone_of(market.zone))
    return local.astimezone(UTC)
