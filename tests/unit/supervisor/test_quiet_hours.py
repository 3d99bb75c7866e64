"""Quiet hours: the clock on the wall decides, also in the nights in which it is changed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.errors import Misconfigured
from orchestrator.holds.pause_depth import break_even_seconds, pause_depth
from orchestrator.holds.quiet_hours import QuietHoursConfig, quiet_of
from orchestrator.holds.quiet_sense import QuietSense
from orchestrator.holds.senses import Moment
from orchestrator.settings.config import load
from orchestrator.tariff.table import TariffConfig
from tests.unit.supervisor.rig import Rig
from tests.unit.tariff.support import HOUR, utc

HOLIDAYS = {"currency": "EUR", "time_zone": "Europe/Berlin", "holidays": ["12-25"]}


def sense(*times: dict[str, Any], tariff: dict[str, Any] | None = None, **keys: Any) -> QuietSense:
    table = QuietHoursConfig.model_validate(
        {"time_zone": "Europe/Berlin", "times": times, **keys}, context="file"
    )
    return QuietSense(quiet_of(table, TariffConfig.model_validate(tariff or {})))


def look(asked: QuietSense, text: str) -> tuple[Hold, ...]:
    return asked.look(Moment(utc(text), 0.0, None))


def test_a_night_holds_until_its_end_and_not_longer() -> None:
    night = sense({"hours": "22-7", "name": "night"})
    assert look(night, "2026-12-01T20:59") == ()
    (hold,) = look(night, "2026-12-01T21:00")
    assert (hold.reason, hold.effect) == (Reason.QUIET_HOURS, Effect.RELEASE)
    assert (hold.since, hold.until) == (utc("2026-12-01T21:00"), utc("2026-12-02T06:00"))
    assert hold.detail == "quiet hours (night) until 07:00"
    assert look(night, "2026-12-02T05:59") == (hold,)
    assert look(night, "2026-12-02T06:00") == ()


@pytest.mark.parametrize(
    ("evening", "until", "hours"),
    [
        ("2026-03-28T21:30", "2026-03-29T05:00", 8),
        ("2026-10-24T20:30", "2026-10-25T06:00", 10),
        ("2026-12-01T21:30", "2026-12-02T06:00", 9),
    ],
)
def test_a_night_in_which_the_clocks_change_ends_when_the_wall_says(
    evening: str, until: str, hours: int
) -> None:
    (hold,) = look(sense({"hours": "22-7"}), evening)
    assert hold.until == utc(until)
    assert hold.until - hold.since == hours * HOUR


def test_the_repeated_hour_is_quiet_twice_and_the_skipped_one_never() -> None:
    asked = sense({"hours": "2-3"})
    (hold,) = look(asked, "2026-10-25T00:10")
    assert (hold.since, hold.until) == (utc("2026-10-25T00:00"), utc("2026-10-25T02:00"))
    assert all(look(asked, f"2026-03-29T0{hour}:30") == () for hour in range(4))


def test_a_restart_in_the_middle_finds_the_same_hold() -> None:
    before = look(sense({"hours": "22-7"}), "2026-12-01T21:00")
    assert look(sense({"hours": "22-7"}), "2026-12-02T05:50") == before


def test_what_is_short_pauses_and_what_is_long_releases() -> None:
    nap = look(sense({"hours": "13-13:15"}), "2026-12-01T12:05")
    assert nap[0].effect is Effect.PAUSE
    own = look(sense({"hours": "13-15"}, release_after="3h"), "2026-12-01T12:05")
    assert own[0].effect is Effect.PAUSE
    told = look(sense({"hours": "22-7", "effect": "pause"}), "2026-12-01T22:00")
    assert told[0].effect is Effect.PAUSE


def test_a_cap_lets_it_go_on_quietly() -> None:
    (hold,) = look(sense({"effect": "cap", "cap_watts": 120, "hours": "20-22"}), "2026-12-01T19:30")
    assert (hold.effect, hold.cap_watts) == (Effect.CAP, 120.0)


def test_holidays_are_those_of_the_tariff_and_so_is_the_zone() -> None:
    asked = sense({"days": "Su,PH", "hours": "8-20"}, tariff=HOLIDAYS, time_zone="")
    assert look(asked, "2026-12-25T08:00")[0].until == utc("2026-12-25T19:00")
    assert look(asked, "2026-12-24T08:00") == ()


def test_several_quiet_times_hold_side_by_side() -> None:
    asked = sense({"hours": "20-7", "effect": "cap", "cap_watts": 90}, {"hours": "22-7"})
    effects = [hold.effect for hold in look(asked, "2026-12-01T22:00")]
    assert effects == [Effect.CAP, Effect.RELEASE]
    assert [hold.effect for hold in look(asked, "2026-12-01T19:30")] == [Effect.CAP]


def test_what_is_always_quiet_has_no_end() -> None:
    (hold,) = look(sense({}), "2026-12-01T22:00")
    assert (hold.until, hold.effect) == (None, Effect.RELEASE)


def test_a_clock_that_is_set_back_out_of_the_night_ends_the_hold() -> None:
    asked = sense({"hours": "22-7"})
    assert look(asked, "2026-12-01T22:00")
    assert look(asked, "2026-12-01T18:00") == ()


def test_the_supervisor_releases_for_the_night_and_goes_on_in_the_morning(rig: Rig) -> None:
    rig.senses.append(sense({"hours": "2-7"}))
    rig.submit()
    rig.train(0, 2)
    snapshot = rig.pass_time(HOUR.total_seconds())
    assert snapshot.setpoint.effect is Effect.RELEASE
    assert snapshot.setpoint.until == utc("2026-12-01T06:00")
    assert "hold_started" in rig.kinds()
    assert rig.pass_time(5 * HOUR.total_seconds()).setpoint.effect is Effect.RUN


def test_the_depth_of_a_pause_goes_by_its_length() -> None:
    limit = break_even_seconds()
    assert timedelta(minutes=15) < timedelta(seconds=limit) < timedelta(hours=1)
    assert pause_depth(60, limit) is Effect.PAUSE
    assert pause_depth(limit, limit) is Effect.RELEASE
    assert pause_depth(None, limit) is Effect.PAUSE
    assert pause_depth(1e9, break_even_seconds(kept_watts=0)) is Effect.PAUSE


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[[quiet_hours]]\nhours = '22-7'\nefect = 'pause'\n", 3, "did you mean 'effect'"),
        ("[[quiet_hours]]\nhours = '22:10-7'\n", 2, "not on a quarter of an hour"),
        ("[[quiet_hours.times]]\neffect = 'cap'\n", 1, "must be set with effect"),
        ("[[quiet_hours]]\ncap_watts = 90\n", 2, "only goes with effect"),
        ("[quiet_hours]\ntime_zone = 'Berlin'\n", 2, "no time zone 'Berlin'"),
        ("[[quiet_hours]]\n[[quiet_hours]]\ndays = 'Mo-Xy'\n", 3, "no such day: 'Xy'"),
    ],
)
def test_mistakes_are_named_with_their_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        load(file, {})
    assert f"homerun.toml:{line}: quiet_hours" in caught.value.message
    assert words in caught.value.message


def test_the_short_form_is_the_long_one(tmp_path: Path) -> None:
    short, long = tmp_path / "a.toml", tmp_path / "b.toml"
    short.write_text("[[quiet_hours]]\nhours = '22-7'\n")
    long.write_text("[[quiet_hours.times]]\nhours = '22-7'\n")
    assert load(short, {}).quiet_hours == load(long, {}).quiet_hours
