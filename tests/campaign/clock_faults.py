"""The wall clock jumps under a real daemon and its trainer: libfaketime sets it while they run."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests import faketime
from tests.campaign.estate import Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.faketime import NOON, WallClock
from tests.story.house import CLOCK, House

_HOUR, _DAY = 3600.0, 86_400.0
#: what is written down as a jump may differ from it by what the two clocks drift, and a busy
#: machine between the setting and the look
_NEAR_SECONDS = 60.0
#: tokens of a step, as ``Estate`` submits its runs
_BATCH_TOKENS = 64
#: from two o'clock on the night's clocks show three
SPRING = datetime(2027, 3, 28, 0, 59, 58, tzinfo=UTC)
ZONE = "Europe/Berlin"
#: quiet in that zone: an hour that begins at the very moment at which summer time does
QUIET = '[[quiet_hours]]\nhours = "3-4"\neffect = "pause"\n'


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` of each jump; nothing at all where there is no libfaketime."""
    if faketime.library() is None:
        print("libfaketime is not installed", file=sys.stderr)
        return []
    wall = WallClock(root / "clock", NOON)
    variables = {**wall.variables, "TZ": ZONE}
    house = House(root / "house", tables=QUIET, variables=variables)
    tally = Tally("the clock jumps (real daemon)")
    began = CLOCK.monotonic()
    house.start()
    try:
        estate = Estate(
            house, random.Random(seed), {tally.fault: tally}, steps=2000 if count > 1 else 400
        )
        jumps = list(_JUMPS) * count
        estate.chance.shuffle(jumps)
        for jump in jumps:
            tally.injected += 1
            tally.wrong += not jump(estate, wall)
            tally.recovered_after(0.0)
        for name in estate.runs:
            house.wait_finished(name, 600.0, 0.5)
        tally.wrong += not _counted_once(estate, CLOCK.monotonic() - began)
        tally.wrong += estate.compare()
    finally:
        house.close()
    return [tally.row()]


def _back(estate: Estate, wall: WallClock) -> bool:
    return _set(estate, wall, -_HOUR)


def _forward(estate: Estate, wall: WallClock) -> bool:
    return _set(estate, wall, _DAY)


def _there_and_back(estate: Estate, wall: WallClock) -> bool:
    """A time server that was wrong for a moment."""
    return _set(estate, wall, 30 * _DAY) and _set(estate, wall, -30 * _DAY)


def _empty_battery(estate: Estate, wall: WallClock) -> bool:
    """1970, and right again."""
    away = (faketime.DEAD_CLOCK - wall.now()).total_seconds()
    return _set(estate, wall, away) and _set(estate, wall, -away)


def _summer_time(estate: Estate, wall: WallClock) -> bool:
    """The zone's hour changes: nobody sets a clock, and the quiet hour comes on the wall's time."""
    house = estate.house
    estate.wait_training()
    wall.show(SPRING)
    held = house.wait_status("the quiet hour", _is_quiet)
    newest = estate.newest_entry()
    right = held["holds"][0]["until"] == "2027-03-28T02:00:00Z"
    wall.jump(_HOUR)
    house.wait_status("the end of the quiet hour", lambda status: not status["holds"])
    _goes_on(estate)
    told = estate.wait("the setting to be told", lambda: estate.news(newest, "clock_set"))
    wall.show(NOON)
    # else the next jump and this way back are one for the daemon, and rightly told as one
    estate.wait("the way back to be told", lambda: len(estate.news(newest, "clock_set")) > 1)
    return right and len(told) == 1


_JUMPS: tuple[Callable[[Estate, WallClock], bool], ...] = (
    _back,
    _forward,
    _there_and_back,
    _empty_battery,
    _summer_time,
)


def _set(estate: Estate, wall: WallClock, seconds: float) -> bool:
    """It is told as what it was; the same attempt goes on, and saves."""
    before = estate.wait_training()["run"]
    newest = estate.newest_entry()
    wall.jump(seconds)
    estate.wait("the jump to be told", lambda: estate.news(newest, "clock_set"))
    after = _goes_on(estate)
    told = estate.news(newest, "clock_set")
    same = after is None or after["name"] != before["name"] or after["attempt"] == before["attempt"]
    return same and len(told) == 1 and abs(told[0]["data"]["seconds"] - seconds) < _NEAR_SECONDS


def _goes_on(estate: Estate) -> Any:
    """More steps and a later checkpoint; None when the run ended meanwhile, or before."""
    house = estate.house
    newest = estate.newest_entry()

    def look() -> bool:
        saved = estate.news(newest, "checkpoint_saved")
        return bool(saved) or house.status()["run"] is None

    estate.wait("a later checkpoint", look)
    return house.status()["run"]


def _is_quiet(status: Any) -> bool:
    return [hold["reason"] for hold in status["holds"]] == ["quiet_hours"]


def _counted_once(estate: Estate, elapsed_seconds: float) -> bool:
    """Each step of each run was computed by one attempt, and time was counted as it passed."""
    counters = estate.house.status()["counters"]
    attempts = [estate.house.run_record(name)["attempts"] for name in estate.runs]
    totals = [counters[name] for name in estate.runs]
    return (
        all(len(of_one) == 1 for of_one in attempts)
        and all(one["tokens"] == estate.steps * _BATCH_TOKENS for one in totals)
        and 0.0 < sum(one["active_seconds"] for one in totals) < elapsed_seconds
        and not any("outages" in one for one in totals)
    )
