"""When a service is asked, for what, and how politely. All of it pure: no clock, no network."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from orchestrator.tariff import fetching as f
from orchestrator.tariff.markets import MARKETS, Market
from orchestrator.tariff.publication import next_publication, published_until
from orchestrator.tariff.services.base import FetchFailed, Trouble
from orchestrator.tariff.slots import PriceSeries
from tests.unit.tariff.support import DAY, HOUR, series, utc

CET = MARKETS["energy_charts"]
NORDPOOL = MARKETS["nordpool"]
OCTOPUS = MARKETS["octopus"]
COMED = MARKETS["comed"]
TIBBER = MARKETS["tibber"]
#: Tuesday 24 November 2026, 12:00 and 15:00 in Berlin
NOON, AFTERNOON = utc("2026-11-24T11:00"), utc("2026-11-24T14:00")
TODAY, TOMORROW = utc("2026-11-23T23:00"), utc("2026-11-24T23:00")
AFTER_TOMORROW = utc("2026-11-25T23:00")
SEED = "this home"


def hours(start: datetime, end: datetime) -> PriceSeries:
    return series(start, [0.1] * round((end - start) / HOUR))


def known_until(end: datetime) -> PriceSeries:
    """Four weeks of history up to ``end``."""
    return hours(TODAY - 28 * DAY, end)


def fresh(**changes: object) -> f.Standing:
    return replace(f.Standing(next_try=NOON), **changes)  # type: ignore[arg-type]


def minutes(standing: f.Standing, now: datetime) -> float:
    return (standing.next_try - now).total_seconds() / 60


# --- publication ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "now", "until", "upcoming"),
    [
        (CET, NOON, TOMORROW, "2026-11-24T12:00"),
        (CET, utc("2026-11-24T12:00"), AFTER_TOMORROW, "2026-11-25T12:00"),
        (CET, utc("2026-11-24T23:30"), AFTER_TOMORROW, "2026-11-25T12:00"),
        # summer time: 13:00 is 11:00 UTC, and the day of the change has 23 hours
        (CET, utc("2026-03-28T12:30"), utc("2026-03-29T22:00"), "2026-03-29T11:00"),
        (MARKETS["awattar"], utc("2026-11-24T12:30"), TOMORROW, "2026-11-24T13:00"),
        # Agile's day ends at 23:00
        (OCTOPUS, utc("2026-11-24T15:59"), utc("2026-11-24T23:00"), "2026-11-24T16:00"),
        (OCTOPUS, utc("2026-11-24T16:00"), utc("2026-11-25T23:00"), "2026-11-25T16:00"),
        (OCTOPUS, utc("2026-11-24T23:30"), utc("2026-11-25T23:00"), "2026-11-25T16:00"),
    ],
)
def test_what_is_published_when(
    market: Market, now: datetime, until: datetime, upcoming: str
) -> None:
    assert published_until(market, now) == until
    assert next_publication(market, now) == utc(upcoming)


def test_real_time_markets_publish_all_the_time() -> None:
    assert published_until(COMED, NOON) is None
    assert next_publication(COMED, NOON) is None


# --- what to ask for ------------------------------------------------------------------------


def asked(market: Market, now: datetime, known: PriceSeries, **changes: object) -> f.Window | None:
    return f.window(market, now, known, fresh(**changes))


def span(window: f.Window | None) -> tuple[datetime, datetime]:
    assert window is not None
    return window.start, window.end


NOTHING = PriceSeries("EUR", ())


def test_the_first_question_is_about_today() -> None:
    assert span(asked(CET, NOON, NOTHING)) == (TODAY, TOMORROW)
    assert span(asked(CET, AFTERNOON, NOTHING)) == (TODAY, AFTER_TOMORROW)
    assert span(asked(NORDPOOL, AFTERNOON, NOTHING)) == (TODAY, TOMORROW)


def test_tomorrow_is_asked_for_only_when_it_should_be_there() -> None:
    known = known_until(TOMORROW)
    assert asked(CET, NOON, known) is None
    assert span(asked(CET, AFTERNOON, known)) == (TODAY, AFTER_TOMORROW)
    assert span(asked(NORDPOOL, AFTERNOON, known)) == (TOMORROW, AFTER_TOMORROW)


def test_then_the_weeks_that_the_forecast_needs_in_as_few_questions_as_may_be() -> None:
    known = hours(TODAY, TOMORROW)
    month = asked(CET, NOON, known)
    assert span(month) == (utc("2026-10-26T23:00"), TODAY)
    assert month is not None
    assert month.past
    assert span(asked(NORDPOOL, NOON, known)) == (TODAY - DAY, TODAY)
    assert span(asked(COMED, utc("2026-11-24T06:10"), NOTHING)) == (
        utc("2026-11-17T06:00"),
        utc("2026-11-24T06:00"),
    )


def test_a_hole_in_the_past_is_asked_for_once() -> None:
    known = hours(TODAY - 28 * DAY, TODAY - 3 * DAY).joined(hours(TODAY - 2 * DAY, TOMORROW).slots)
    hole = asked(CET, NOON, known)
    assert hole is not None
    assert hole.days == {date(2026, 11, 21)}
    assert asked(CET, NOON, known, asked_days=hole.days) is None


def test_a_real_time_market_is_asked_for_the_hours_that_have_passed() -> None:
    start = utc("2026-11-24T06:00")
    known = hours(start - 29 * DAY, start + 3 * HOUR)
    assert asked(COMED, start + 3.5 * HOUR, known) is None
    assert span(asked(COMED, start + 4.1 * HOUR, known)) == (start, start + DAY)


def test_services_without_a_past_are_asked_for_what_they_have() -> None:
    assert span(asked(TIBBER, NOON, known_until(TOMORROW))) == (TODAY, AFTER_TOMORROW)


def test_preliminary_prices_are_asked_for_again() -> None:
    known = known_until(AFTER_TOMORROW)
    standing = fresh(provisional=frozenset({date(2026, 11, 25)}))
    assert span(f.window(NORDPOOL, AFTERNOON, known, standing)) == (TOMORROW, AFTER_TOMORROW)


# --- when -----------------------------------------------------------------------------------


def succeed(
    market: Market, now: datetime, known: PriceSeries, before: f.Standing, *, final: bool = True
) -> f.Standing:
    window = f.window(market, now, NOTHING, replace(before, trouble=None))
    assert window is not None
    return f.after_success(market, before, window, known, now, SEED, final=final)


def test_a_complete_day_waits_for_the_next_publication_and_a_little_longer() -> None:
    done = succeed(CET, AFTERNOON, known_until(AFTER_TOMORROW), fresh())
    assert done.trouble is None
    assert done.last_success == AFTERNOON
    late = (done.next_try - utc("2026-11-25T12:00")).total_seconds()
    assert 120 <= late <= 900


def test_homes_do_not_all_come_at_once() -> None:
    shares = [f.spread(f"home {number}", NOON) for number in range(200)]
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    assert f.spread("home 1", NOON) == f.spread("home 1", NOON + HOUR)
    assert f.spread("home 1", NOON) != f.spread("home 1", NOON + DAY)


def test_a_late_publication_is_asked_for_less_and_less_often() -> None:
    standing, waits = fresh(), []
    known = known_until(TOMORROW)
    for _ in range(7):
        standing = succeed(CET, AFTERNOON, known, standing)
        waits.append(round(minutes(standing, AFTERNOON)))
    assert standing.trouble is Trouble.NOT_YET
    assert 10 <= waits[0] <= 12
    assert waits == sorted(waits)
    assert 60 <= waits[-1] <= 72
    assert standing.worth_telling


def test_while_the_publication_is_late_the_past_is_filled_in() -> None:
    known = hours(TODAY, TOMORROW)
    standing = succeed(CET, AFTERNOON, known, fresh())
    assert standing.trouble is Trouble.NOT_YET
    assert minutes(standing, AFTERNOON) <= 2
    past = f.window(CET, AFTERNOON, known, standing)
    assert past is not None
    assert past.past
    after = f.after_success(CET, standing, past, known_until(TOMORROW), AFTERNOON, SEED, final=True)
    assert after.trouble is Trouble.NOT_YET
    assert minutes(after, AFTERNOON) >= 10


def test_a_day_that_nobody_asked_for_yet_is_not_late() -> None:
    standing = succeed(NORDPOOL, AFTERNOON, known_until(TOMORROW), fresh())
    assert standing.trouble is None
    assert minutes(standing, AFTERNOON) <= 2


def test_preliminary_prices_are_looked_at_again_in_ten_minutes() -> None:
    standing = succeed(NORDPOOL, AFTERNOON, known_until(AFTER_TOMORROW), fresh(), final=False)
    assert standing.provisional
    assert 10 <= minutes(standing, AFTERNOON) <= 12
    again = succeed(NORDPOOL, AFTERNOON, known_until(AFTER_TOMORROW), standing)
    assert not again.provisional


@pytest.mark.parametrize(
    ("trouble", "first", "longest", "told_at"),
    [
        (Trouble.NOT_YET, 10, 60, 6),
        (Trouble.BUSY, 15, 360, 3),
        (Trouble.BROKEN, 2, 60, 3),
        (Trouble.RUBBISH, 15, 120, 1),
        (Trouble.DENIED, 60, 360, 1),
    ],
)
def test_each_trouble_backs_off_in_its_own_way(
    trouble: Trouble, first: float, longest: float, told_at: int
) -> None:
    window = f.window(CET, NOON, NOTHING, fresh())
    assert window is not None
    standing, waits, told = fresh(), [], []
    for _ in range(40):
        standing = f.after_failure(standing, window, FetchFailed(trouble, "why"), NOON, SEED)
        waits.append(minutes(standing, NOON))
        told.append(standing.worth_telling)
    assert first <= waits[0] <= first * 1.2
    assert waits == sorted(waits)
    assert longest <= waits[-1] <= longest * 1.2
    assert told.index(True) == told_at - 1
    assert standing.reason == "why"


@pytest.mark.parametrize(
    ("wanted_seconds", "least_minutes", "most_minutes"),
    [(5, 15, 18), (7200, 120, 144), (10**9, 24 * 60, 24 * 60 * 1.2)],
)
def test_a_service_that_wants_peace_gets_it_within_reason(
    wanted_seconds: float, least_minutes: float, most_minutes: float
) -> None:
    window = f.window(CET, NOON, NOTHING, fresh())
    assert window is not None
    error = FetchFailed(Trouble.BUSY, "busy", wanted_seconds)
    standing = f.after_failure(fresh(), window, error, NOON, SEED)
    assert least_minutes <= minutes(standing, NOON) <= most_minutes


@pytest.mark.parametrize("trouble", [Trouble.NOT_YET, Trouble.RUBBISH])
def test_a_past_that_cannot_be_had_is_nothing_to_complain_about(trouble: Trouble) -> None:
    known = hours(TODAY, TOMORROW)
    past = f.window(NORDPOOL, NOON, known, fresh())
    assert past is not None
    standing = f.after_failure(fresh(), past, FetchFailed(trouble, "gone"), NOON, SEED)
    assert standing.trouble is None
    following = f.window(NORDPOOL, NOON, known, standing)
    assert following is not None
    assert following.days.isdisjoint(past.days)


def test_a_success_ends_all_trouble() -> None:
    troubled = fresh(failures=9, trouble=Trouble.BROKEN, reason="x", told=True)
    done = succeed(CET, NOON, known_until(TOMORROW), troubled)
    assert (done.failures, done.trouble, done.reason, done.told) == (0, None, "", False)


def test_real_time_and_local_sources_are_asked_at_their_own_pace() -> None:
    known = known_until(TOMORROW)
    for name, least in (("comed", 15), ("generic_json", 60), ("home_assistant", 30)):
        market = MARKETS[name]
        window = f.Window(TODAY, TOMORROW, frozenset())
        done = f.after_success(market, fresh(), window, known, NOON, SEED, final=True)
        idle = f.idle(market, replace(done, asked_days=frozenset(_days())), known, NOON, SEED)
        assert least <= minutes(idle, NOON) <= least * 1.2


def _days() -> list[date]:
    return [date(2026, 11, 24) - timedelta(days=back) for back in range(40)]


def test_a_clock_that_was_set_back_does_not_silence_the_daemon() -> None:
    standing = fresh(last_try=NOON, next_try=NOON + DAY)
    assert not f.due(standing, NOON + HOUR)
    assert f.due(standing, NOON + DAY)
    assert f.due(standing, NOON - HOUR)


def test_the_first_try_comes_soon_but_not_in_the_same_second_as_the_street() -> None:
    tries = [f.first_try(NOON, f"home {number}").next_try - NOON for number in range(50)]
    assert timedelta(seconds=1) <= min(tries) < max(tries) <= timedelta(seconds=15)
    assert max(tries) - min(tries) > timedelta(seconds=10)
