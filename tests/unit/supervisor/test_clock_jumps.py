"""The wall clock jumps, the machine sleeps: nothing is done twice, and doubt is told as doubt."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.calendar import Calendar
from orchestrator.decide import Policy
from orchestrator.domain import AttemptEnd, Effect
from orchestrator.home.clock import SystemClock
from orchestrator.outage import Beat, Outage, measure, told
from orchestrator.timekeeping import Change, Reading, compare, read
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

HOUR, DAY = 3600.0, 86_400.0
#: an hour back, a day forward, summer time as somebody sets it by hand, an empty battery's 1970
JUMPS = (-HOUR, DAY, HOUR, -56 * 365.25 * DAY)
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def told_of(rig: Rig, kind: str) -> list[Any]:
    return [entry for entry in rig.commands.journal(limit=1000) if entry.kind == kind]


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_starts_kills_and_counts_nothing(rig: Rig, jump: float) -> None:
    rig.submit()
    rig.train(0, 3)
    rig.pass_time(10)
    before = rig.supervisor.books.totals()["month"]
    rig.clock.jump(jump)
    snapshot = rig.settle()
    assert rig.engine.calls == ["open", "start"]
    assert rig.engine.kills == []
    assert snapshot.setpoint.effect is Effect.RUN
    assert rig.supervisor.books.totals()["month"] == before
    rig.pass_time(10)
    after = rig.supervisor.books.totals()["month"]
    assert after["active_seconds"] - before["active_seconds"] == pytest.approx(10)
    assert after["energy_joules"] - before["energy_joules"] == pytest.approx(1000)
    (entry,) = told_of(rig, "clock_set")
    assert ("forward" if jump > 0 else "back") in entry.message


@pytest.mark.parametrize("jump", JUMPS)
def test_the_ledger_has_no_row_that_goes_back_and_its_sum_is_the_energy(
    rig: Rig, jump: float
) -> None:
    rig.submit()
    rig.train(0, 1)
    for _ in range(30):
        rig.pass_time(5)
    rig.clock.jump(jump)
    for _ in range(30):
        rig.pass_time(5)
    rig.supervisor.close()
    with rig.store.transaction() as tx:
        rows = tx.ledger.page(0, 1000)
    assert all(row.end > row.start for row in rows)
    assert sum(row.microjoules for row in rows) == pytest.approx(300 * 100 * 1e6)
    covered = sum((row.end - row.start).total_seconds() for row in rows)
    assert covered == pytest.approx(300), "no second is written down twice, and none is missing"
    ordered = sorted(rows, key=lambda row: row.start)
    if jump not in (-HOUR,):
        assert all(a.end <= b.start for a, b in itertools.pairwise(ordered))


@pytest.mark.parametrize("jump", JUMPS)
def test_a_back_off_and_a_watchdog_take_as_long_as_ever(rig: Rig, jump: float) -> None:
    rig.submit()
    rig.die("exit code 1")
    rig.clock.jump(jump)
    rig.settle()
    assert rig.engine.calls.count("start") == 1
    rig.pass_time(2.1)
    assert rig.engine.calls.count("start") == 2
    rig.train(0, 1)
    rig.clock.jump(-jump)
    rig.pass_time(Policy().stall_after_seconds - 1)
    assert rig.engine.kills == []
    rig.pass_time(2)
    assert len(rig.engine.kills) == 1


@pytest.mark.parametrize("jump", JUMPS)
def test_pause_for_two_hours_takes_two_hours_whatever_the_clock_shows(
    rig: Rig, jump: float
) -> None:
    rig.submit()
    until = rig.clock.now() + timedelta(hours=2)
    rig.commands.pause(run=None, until=until, release=False, detail="", source="cli", lasts=True)
    rig.pass_time(HOUR)
    rig.clock.jump(jump)
    held = rig.settle()
    assert held.setpoint.effect is Effect.PAUSE
    assert held.setpoint.until == held.time + timedelta(hours=1)
    assert rig.pass_time(HOUR - 10).setpoint.effect is Effect.PAUSE
    assert rig.pass_time(20).setpoint.effect is Effect.RUN


def test_pause_until_a_time_ends_when_the_clock_shows_it(rig: Rig) -> None:
    rig.submit()
    until = rig.clock.now() + timedelta(hours=2)
    rig.commands.pause(run=None, until=until, release=False, detail="", source="cli")
    rig.clock.jump(HOUR)
    assert rig.settle().setpoint.until == until
    assert rig.pass_time(HOUR + 1).setpoint.effect is Effect.RUN


def test_a_crash_loop_is_noticed_though_the_clock_went_back_after_a_resume(rig: Rig) -> None:
    rig.submit()

    def crash_until_held() -> int:
        for count in range(1, 10):
            rig.die("exit code 1")
            if rig.settle().setpoint.effect is Effect.RELEASE:
                return count
            rig.pass_time(400)
        return 0

    assert crash_until_held() == 5
    rig.commands.resume(run=None, source="test")
    rig.clock.jump(-DAY)
    rig.settle()
    assert crash_until_held() == 5


def test_an_attempt_never_lasts_less_than_nothing(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 1)
    rig.clock.jump(-DAY)
    rig.pass_time(7)
    rig.die()
    (ended,) = told_of(rig, "attempt_ended")
    assert ended.data["seconds"] == pytest.approx(7)


# --- outages --------------------------------------------------------------------------------


def test_within_one_boot_an_outage_is_exact_though_the_clock_was_set(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.supervisor.flush()
    rig.clock.advance(1800)
    rig.clock.jump(-2 * HOUR)
    rig.crash()
    (entry,) = told_of(rig, "outage")
    assert entry.data["seconds"] == pytest.approx(1800)
    assert "the clock was set by -7200 s meanwhile" in entry.message
    assert rig.settle().counters["month"]["outage_seconds"] == pytest.approx(1800)


def test_over_a_reboot_a_clock_that_went_back_is_doubted_not_counted(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.supervisor.flush()
    rig.clock.jump(-2 * HOUR)
    rig.boot = "boot-2"
    rig.crash()
    assert rig.ends() == [AttemptEnd.REBOOT]
    assert "outage_seconds" not in rig.settle().counters["month"]
    (entry,) = told_of(rig, "outage")
    assert "unknown" in entry.message
    assert "2h before the last sign of life" in entry.message


def test_when_training_goes_on_one_line_tells_the_whole_outage(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 9)
    rig.supervisor.flush()
    rig.clock.reboot(2 * HOUR)
    rig.boot = "boot-2"
    rig.crash()
    rig.settle()
    rig.train(4, 4)
    (entry,) = told_of(rig, "outage_over")
    assert entry.message == (
        "Training goes on after an outage: the machine was down for 2h, since 2026-12-01 00:00:00 "
        "UTC; 5 steps (500ms) have to be computed again, and at most 10 s that were not written "
        "down any more, and it finishes 2h later."
    )
    assert entry.data["lost_steps"] == 5
    rig.die()
    rig.pass_time(3)
    rig.train(4, 4)
    assert len(told_of(rig, "outage_over")) == 1


def test_an_outage_of_a_dead_rtc_is_unknown_and_one_that_contradicts_itself_is_about() -> None:
    last = Beat(NOW, "a", 5000.0)
    dead = measure(last, Beat(datetime(1970, 1, 1, tzinfo=UTC), "b", 60.0))
    assert dead.seconds is None
    assert "never set" in dead.doubt
    short = measure(last, Beat(NOW + timedelta(seconds=90), "b", 600.0))
    assert (short.seconds, short.length) == (600.0, "about 10m")
    assert measure(last, Beat(NOW + timedelta(hours=1), "b", 60.0)).doubt == ""
    assert measure(Beat(NOW, "a", None), Beat(NOW + timedelta(hours=1), "a", 9.0)).seconds == HOUR
    assert "unknown" in told(dead, 0, None)
    assert "1 step has" not in told(Outage(NOW, 5.0, rebooted=False), 1, None)


# --- sleep ----------------------------------------------------------------------------------


def test_a_machine_that_slept_is_told_as_an_outage_and_kills_nobody(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 3)
    rig.clock.suspend(8 * HOUR)
    rig.settle()
    assert rig.engine.kills == []
    (entry,) = told_of(rig, "suspended")
    assert "slept for 8h" in entry.message
    assert told_of(rig, "clock_set") == []
    totals = rig.pass_time(20).counters["month"]
    assert (totals["outages"], totals["outage_seconds"]) == (1, 8 * HOUR)
    assert rig.supervisor.books.total("month", "active_seconds") == pytest.approx(20)
    rig.engine.event(m.Heartbeat(3, 0, 1))
    assert rig.settle().setpoint.effect is Effect.RUN


def test_time_that_only_passes_is_no_change() -> None:
    before = Reading(NOW, 100.0, 7.0)
    later = Reading(NOW + timedelta(seconds=61), 160.0, 7.0)
    assert compare(before, later) == Change(0.0, 0.0)
    assert compare(before, Reading(NOW, 160.0, 7.0)) == Change(-60.0, 0.0)
    slept = Reading(NOW + timedelta(seconds=3660), 160.0, 3607.0)
    assert compare(before, slept) == Change(0.0, 3600.0)


def test_the_machine_s_own_clocks_agree() -> None:
    clock = SystemClock()
    assert compare(read(clock), read(clock)) == Change(0.0, 0.0)
    assert clock.asleep() >= 0.0


def test_the_calendar_counts_anew_after_the_clock_was_set() -> None:
    calendar = Calendar()
    calendar.every(timedelta(hours=1), "hourly", lambda: None)
    calendar.daily(4, 30, "daily", lambda: None)
    calendar.start()
    try:
        before = {job.id: job.next_run_time for job in calendar._scheduler.get_jobs()}
        calendar.clock_was_set()
        after = {job.id: job.next_run_time for job in calendar._scheduler.get_jobs()}
    finally:
        calendar.stop()
    assert after["daily"] == before["daily"]
    assert after["hourly"] >= before["hourly"] - timedelta(seconds=10)


def test_an_outage_never_claims_that_nothing_was_lost() -> None:
    """A cut comes between two writings of the books: steps that no book knows are lost too."""
    outage = Outage(NOW, 3600.0, rebooted=True)
    sentence = told(outage, 0, 0.0)
    assert "at most 10 s have to be computed again" in sentence
    assert "nothing" not in sentence
