"""The wall clock of a real daemon and its trainer is wrong, and is set while they work."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import faketime
from tests.faketime import DEAD_CLOCK, NOON, WallClock
from tests.story.conftest import MakeHouse
from tests.story.house import House, wait_for

HOUR, DAY = 3600.0, 86_400.0
STEPS = 100


@pytest.fixture
def wall(tmp_path: Path) -> WallClock:
    faketime.require()
    return WallClock(tmp_path / "clock", NOON)


def test_a_machine_whose_clock_stood_still_in_1970_trains_and_jumps_repeat_no_work(
    make_house: MakeHouse, wall: WallClock
) -> None:
    wall.show(DEAD_CLOCK)
    house: House = make_house(variables=wall.variables).start()
    house.submit(steps=STEPS)
    status = house.wait_step(3)
    assert status["time"].startswith("1970-01-01")
    wall.show(NOON)
    for number, jump in enumerate((-HOUR, DAY), start=1):
        wait_for("the setting to be told", lambda told=number: len(settings(house)) == told)
        saved = min(STEPS, saved_steps(house))
        wait_for("a later checkpoint", lambda old=saved: saved_steps(house) > old)
        wall.jump(jump)
    wait_for("the last setting to be told", lambda: len(settings(house)) == 3)
    house.wait_finished()

    right, back, forward = settings(house)
    assert "forward by 20788d" in right
    assert "back by 1h" in back
    assert "forward by 1d" in forward
    assert [attempt["number"] for attempt in house.run_record()["attempts"]] == [1]
    counters = house.status()["counters"]["tiny"]
    assert counters["tokens"] == STEPS * 256
    assert "outages" not in counters
    assert house.terminate() == 0


def saved_steps(house: House) -> int:
    """Of the newest checkpoint; more than any once the run is finished."""
    run = house.status()["run"]
    if run is None:
        return 1 + STEPS
    return run["checkpoint"]["step"] if run["checkpoint"] else 0


def settings(house: House) -> list[str]:
    """What the journal says of clocks that were set."""
    return [entry["message"] for entry in house.journal() if entry["kind"] == "clock_set"]


def test_a_daily_chore_comes_at_its_time_also_after_the_clock_went_back(
    make_house: MakeHouse, wall: WallClock
) -> None:
    house: House = make_house(variables={**wall.variables, "TZ": "UTC"}).start()
    backup, older = (house.state / f"homerun-backup{name}.sqlite" for name in ("", "-older"))
    assert not backup.exists()
    wall.show(datetime(2026, 12, 3, 4, 29, 58, tzinfo=UTC))
    wait_for("the night's backup", backup.exists)
    assert not older.exists()
    wall.show(datetime(2026, 12, 2, 4, 29, 58, tzinfo=UTC))
    wait_for("the backup of the night before", older.exists)
