"""Times as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from orchestrator.cli import times
from orchestrator.errors import Invalid

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 12, 1, 11, 0, tzinfo=UTC)


def until(text: str, now: datetime = NOON) -> datetime:
    return times.parse_until(text, now, BERLIN)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("18:00", "2026-12-01T17:00:00"),
        ("12:00", "2026-12-02T11:00:00"),
        ("12:00:01", "2026-12-01T11:00:01"),
        ("9:05", "2026-12-02T08:05:00"),
        ("00:00", "2026-12-01T23:00:00"),
        ("2026-12-24T18:00", "2026-12-24T17:00:00"),
        ("2026-12-24 18:00", "2026-12-24T17:00:00"),
        ("2026-12-24", "2026-12-23T23:00:00"),
        ("2026-12-24T18:00Z", "2026-12-24T18:00:00"),
        ("2026-12-24T18:00+05:30", "2026-12-24T12:30:00"),
        ("2027-07-01T18:00", "2027-07-01T16:00:00"),
    ],
)
def test_until_is_the_next_such_time_on_the_wall(text: str, utc: str) -> None:
    assert until(text) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "24:00", "18:60", "1800", "tomorrow", "2026-11-30", "2026-12-01T11:00Z", "2026-13-01"],
)
def test_no_time_and_no_past(text: str) -> None:
    with pytest.raises(Invalid):
        until(text)


def test_an_hour_that_comes_twice_means_its_next_coming() -> None:
    # On 25 October 2026 the clocks go back at 03:00: 02:30 comes at 00:30 and at 01:30 UTC.
    before = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert until("02:30", before) == before + timedelta(minutes=30)
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert until("02:30", between) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    after = datetime(2026, 10, 25, 2, 0, tzinfo=UTC)
    assert until("02:30", after) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_an_hour_that_is_skipped_ends_the_same_night() -> None:
    # On 29 March 2026 the clocks go from 02:00 to 03:00, at 01:00 UTC.
    evening = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)
    assert until("02:30", evening) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (45.4, "45 s"),
        (100, "1 min 40 s"),
        (599, "9 min 59 s"),
        (629, "10 min"),
        (7800, "2 h 10 min"),
        (86_400 + 7200, "1 d 2 h"),
        (12 * 86_400 + 4 * 3600 + 1700, "12 d 4 h"),
    ],
)
def test_a_span_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert times.span(seconds) == text


@pytest.mark.parametrize(
    ("utc", "text"),
    [
        ("2026-12-01T17:00:00", "18:00 CET"),
        ("2026-12-24T17:00:00", "Thu 24 Dec 18:00 CET"),
        ("2027-07-01T16:00:00", "1 Jul 2027 18:00 CEST"),
    ],
)
def test_a_moment_is_only_as_long_as_it_must_be(utc: str, text: str) -> None:
    when = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert times.moment(when, NOON, zone=BERLIN) == text


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    assert times.ago(NOON + timedelta(hours=1), NOON) == "just now"


def test_an_old_stamp_has_its_date() -> None:
    assert times.stamp(NOON - timedelta(days=2), NOON, BERLIN) == "29 Nov 12:00"
    assert times.short_stamp(NOON - timedelta(days=2), NOON, BERLIN) == "29 Nov"
    assert times.short_stamp(NOON - timedelta(hours=13), NOON, BERLIN) == "23:00:00"
