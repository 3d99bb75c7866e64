"""When to ask a service, and for what: after the publication, seldom, never all homes at once.

Pure: the keeper brings the clock and the service. All waiting is between two calls; nothing here
sleeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from orchestrator.tariff.markets import Market
from orchestrator.tariff.publication import (
    market_day,
    next_publication,
    published_until,
    today,
)
from orchestrator.tariff.services.base import FetchFailed, Trouble
from orchestrator.tariff.slots import PriceSeries

#: after the usual time of publication: the market's own delay, then the homes one after the other
_AFTER_SECONDS, _SPREAD_SECONDS = 120.0, 780.0
#: between two requests for the past
_BACKFILL_SECONDS = 60.0
_PRELIMINARY_SECONDS = 600.0
#: first wait and longest one, by what went wrong
_WAITS = {
    Trouble.NOT_YET: (600.0, 3_600.0),
    Trouble.BUSY: (900.0, 21_600.0),
    Trouble.BROKEN: (120.0, 3_600.0),
    Trouble.RUBBISH: (900.0, 7_200.0),
    Trouble.DENIED: (3_600.0, 21_600.0),
}
_LONGEST_RETRY_AFTER_SECONDS = 86_400.0
#: so much of a wait is different in every home
_JITTER = 0.2
#: from here on a failure is worth a line in the journal
_FAILURES_TO_TELL = {
    Trouble.NOT_YET: 6,
    Trouble.BUSY: 3,
    Trouble.BROKEN: 3,
    Trouble.RUBBISH: 1,
    Trouble.DENIED: 1,
}


@dataclass(frozen=True)
class Standing:
    """How it stands with one service."""

    next_try: datetime
    last_try: datetime | None = None
    last_success: datetime | None = None
    #: in a row
    failures: int = 0
    trouble: Trouble | None = None
    reason: str = ""
    #: days of the past that were asked for, so that a hole in them is not asked for again
    asked_days: frozenset[date] = frozenset()
    #: days whose prices may still change
    provisional: frozenset[date] = frozenset()
    #: whether the journal knows that it fails
    told: bool = False

    @property
    def worth_telling(self) -> bool:
        """Whether this failure is more than a hiccup."""
        return self.trouble is not None and self.failures >= _FAILURES_TO_TELL[self.trouble]


@dataclass(frozen=True)
class Window:
    """What to ask for: whole delivery days."""

    start: datetime
    end: datetime
    days: frozenset[date]
    #: days that are over, for the forecast; nothing waits for them
    past: bool = False


def spread(seed: str, now: datetime) -> float:
    """A number from 0 to 1 that differs between homes and days, and stays the same otherwise."""
    digest = hashlib.sha256(f"{seed} {now:%Y-%m-%d}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32


def due(standing: Standing, now: datetime) -> bool:
    """Whether to ask now. A clock that was set back does not silence us for longer than planned."""
    set_back = standing.last_try is not None and standing.last_try > now
    return set_back or now >= standing.next_try


def window(market: Market, now: datetime, known: PriceSeries, standing: Standing) -> Window | None:
    """What is missing most: today and tomorrow, then the newest hole of the last weeks."""
    day = today(market, now)
    if not market.history_days:
        return _whole(market, [day, day + timedelta(days=1)])
    coming = {*_coming(market, now, known), *(d for d in standing.provisional if d >= day)}
    past = [day for day in _past(market, now, known) if day not in standing.asked_days]
    # while the publication is late there is time for the past
    late = standing.trouble is Trouble.NOT_YET and day not in coming
    if coming and not (late and past):
        # today comes along where that costs nothing, and shows whether it was revised
        one_day = market.days_per_request == 1
        return _whole(market, [min(coming)] if one_day else [day, *coming])
    if not past:
        return None
    newest = past[0]
    return _whole(
        market,
        [day for day in past if (newest - day).days < market.days_per_request],
        past=True,
    )


def after_success(
    market: Market,
    standing: Standing,
    asked: Window,
    known: PriceSeries,
    now: datetime,
    seed: str,
    *,
    final: bool,
) -> Standing:
    """The standing after prices came; ``known`` holds them already."""
    if asked.past:
        earlier = standing.asked_days | asked.days
        done = replace(standing, last_try=now, last_success=now, asked_days=earlier)
        return idle(market, done, known, now, seed)
    # a day that nobody asked for yet is not late
    missing = _late(market, known, now, asked)
    done = Standing(
        next_try=now,
        last_try=now,
        last_success=now,
        failures=standing.failures + 1 if missing else 0,
        trouble=Trouble.NOT_YET if missing else None,
        reason="the next day is not published yet" if missing else "",
        asked_days=standing.asked_days,
        provisional=standing.provisional - asked.days | (frozenset() if final else asked.days),
        told=standing.told and missing,
    )
    return idle(market, done, known, now, seed)


def idle(
    market: Market, standing: Standing, known: PriceSeries, now: datetime, seed: str
) -> Standing:
    """The standing with its next try, while nothing is wrong or only the publication is late."""
    return replace(standing, next_try=_next_try(market, standing, known, now, seed))


def after_failure(
    standing: Standing, asked: Window, error: FetchFailed, now: datetime, seed: str
) -> Standing:
    """The standing after none came."""
    if asked.past and error.trouble in (Trouble.NOT_YET, Trouble.RUBBISH):
        # a hole in the past stays one; there is no reason to complain, nor to wait for it
        return replace(
            standing,
            last_try=now,
            asked_days=standing.asked_days | asked.days,
            next_try=now + timedelta(seconds=_BACKFILL_SECONDS),
        )
    failures = standing.failures + 1
    wait = _wait(error, failures) * (1 + _JITTER * spread(seed, now))
    return replace(
        standing,
        last_try=now,
        failures=failures,
        trouble=error.trouble,
        reason=error.reason,
        next_try=now + timedelta(seconds=wait),
    )


def first_try(now: datetime, seed: str) -> Standing:
    """The standing at the daemon's start: soon, but not in the same second as the whole street."""
    return Standing(next_try=now + timedelta(seconds=1.0 + 14.0 * spread(seed, now)))


# --- the parts ------------------------------------------------------------------------------


def _next_try(
    market: Market, standing: Standing, known: PriceSeries, now: datetime, seed: str
) -> datetime:
    share = spread(seed, now)
    wanted = window(market, now, known, standing) if market.history_days else None
    if wanted and wanted.past:
        return now + timedelta(seconds=_BACKFILL_SECONDS * (1 + share))
    if standing.trouble is not None:
        late = FetchFailed(standing.trouble, standing.reason)
        return now + timedelta(seconds=_wait(late, standing.failures) * (1 + _JITTER * share))
    if standing.provisional:
        return now + timedelta(seconds=_PRELIMINARY_SECONDS * (1 + _JITTER * share))
    if wanted:
        return now + timedelta(seconds=_BACKFILL_SECONDS * (1 + share))
    publication = next_publication(market, now)
    if publication is None:
        return now + timedelta(seconds=market.every_seconds * (1 + _JITTER * share))
    return publication + timedelta(seconds=_AFTER_SECONDS + _SPREAD_SECONDS * share)


def _wait(error: FetchFailed, failures: int) -> float:
    first, longest = _WAITS[error.trouble]
    wait = min(longest, first * 2.0 ** min(failures - 1, 16))
    if error.retry_after_seconds is not None:
        wait = max(wait, min(error.retry_after_seconds, _LONGEST_RETRY_AFTER_SECONDS))
    return wait


def _late(market: Market, known: PriceSeries, now: datetime, asked: Window) -> bool:
    """Whether something of what was asked for should be published, and is not known."""
    if market.publishes is None:
        return False
    return not asked.days.isdisjoint(_coming(market, now, known))


def _coming(market: Market, now: datetime, known: PriceSeries) -> Iterator[date]:
    """Today and tomorrow, as far as they are missing and should be there."""
    day = today(market, now)
    until = published_until(market, now)
    for ahead in range(2):
        start, end = market_day(market, day + timedelta(days=ahead))
        if until is None:
            # real time: only today goes on, and is never complete before it is over
            if ahead == 0 and any(True for _ in known.gaps(start, min(end, _hour(now)))):
                yield day
        elif end <= until and any(True for _ in known.gaps(max(start, now), end)):
            yield day + timedelta(days=ahead)


def _past(market: Market, now: datetime, known: PriceSeries) -> Iterator[date]:
    """Days of the last weeks with a hole in them, the newest first."""
    day = today(market, now)
    for back in range(1, market.history_days + 1):
        earlier = day - timedelta(days=back)
        if any(True for _ in known.gaps(*market_day(market, earlier))):
            yield earlier


def _whole(market: Market, days: list[date], *, past: bool = False) -> Window:
    start, _ = market_day(market, min(days))
    _, end = market_day(market, max(days))
    return Window(start, end, frozenset(days), past)


def _hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)
