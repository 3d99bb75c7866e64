"""The machine goes down under a real daemon, and comes up in another boot, also with a dead clock.

Everything of the house is killed at one moment, shared memory is emptied, the boot's id is
another one and the wall clock has gone on. What of a disk's cache a power cut may lose is the
subject of the rows of power cuts.
"""

from __future__ import annotations

import random
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests import faketime, reboots
from tests.campaign.estate import Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.faketime import DEAD_CLOCK, NOON, WallClock
from tests.reboots import Boots
from tests.story.house import CLOCK, House, trainer_pid
from trainer.checkpoint import catalog

#: the longest wait before the mains fail: loading and training are both hit
_LONGEST_SECONDS = 3.0
_HALF_A_DAY_SECONDS = 43_200.0
#: every so many-th reboot finds an empty battery on the board
_DEAD_EVERY = 3


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` reboots; nothing at all where none can be played."""
    missing = "" if faketime.library() else "libfaketime is not installed"
    if missing := missing or reboots.problem(root):
        print(missing, file=sys.stderr)
        return []
    wall, boots = WallClock(root / "clock", NOON), Boots(root / "boot_id")
    house = House(root / "house", variables=wall.variables, wrapper=boots.wrapper).start()
    tally = Tally("the machine reboots (real daemon)")
    dead = Tally("the machine reboots with a clock of 1970 (real daemon)")
    try:
        estate = Estate(house, random.Random(seed), {}, steps=2000 if count > 1 else 400)
        machine = Machine(estate, wall, boots)
        for number in range(count):
            _reboot(machine, tally)
            if number % _DEAD_EVERY == _DEAD_EVERY - 1:
                _reboot(machine, dead, dead_clock=True)
        tally.wrong += estate.compare()
    finally:
        house.close()
    return [one.row() for one in (tally, dead) if one.injected]


class Machine:
    """What the house stands on."""

    def __init__(self, estate: Estate, wall: WallClock, boots: Boots) -> None:
        self.estate = estate
        self.wall = wall
        self._boots = boots
        self._chance = estate.chance

    def wait_moment(self) -> Any:
        """The run, at a random moment of its trainer's life."""
        house = self.estate.house
        while True:
            self.estate.keep_training()
            house.wait_status("a trainer", lambda s: s["run"] is None or trainer_pid(s))
            CLOCK.sleep(self._chance.uniform(0.0, _LONGEST_SECONDS))
            run = house.status()["run"]
            if run is not None and run["trainer_pid"]:
                return run

    def go_down(self) -> None:
        """The mains fail."""
        self.estate.house.kill_all()
        self.estate.house.forget_memory()

    def come_up(self, *, dead_clock: bool) -> tuple[datetime, datetime]:
        """Hours later; the wall's times before and after the start of the daemon."""
        self._boots.next()
        if dead_clock:
            self.wall.show(DEAD_CLOCK)
        else:
            # longer than the machine is up, for its uptime goes on here and contradicts the wall
            away = CLOCK.monotonic() + CLOCK.asleep()
            self.wall.jump(away + self._chance.uniform(60.0, _HALF_A_DAY_SECONDS))
        before = self.wall.now()
        self.estate.house.start()
        return before, self.wall.now()


def _reboot(machine: Machine, tally: Tally, *, dead_clock: bool = False) -> None:
    estate = machine.estate
    house = estate.house
    run = machine.wait_moment()
    saved = _newest_saved(house, run["name"])
    newest = estate.newest_entry()
    right = machine.wall.now()
    machine.go_down()
    on_disk = catalog.list_checkpoints(house.run_dir(run["name"]))
    spans = machine.come_up(dead_clock=dead_clock)
    tally.injected += 1
    ends = [one["end"] for one in house.run_record(run["name"])["attempts"]]
    outages = estate.news(newest, "outage")
    over = _wait_over(estate, newest)
    tally.recovered_after(run["unsaved_seconds"] or 0.0)
    step = on_disk[0].step if on_disk else 0
    well = [
        ends[-1] == "reboot" or ends[-2] == "reboot",
        len(outages) == 1 and outages[0]["data"]["rebooted"],
        over["resumed"]["data"]["step"] == step >= saved,
        over["outage_over"]["data"]["lost_steps"] == over["resumed"]["data"]["lost_steps"],
        _is_told_right(over["outage_over"]["data"], spans, right, dead_clock=dead_clock),
    ]
    tally.wrong += not all(well)
    if dead_clock:
        machine.wall.show(right + timedelta(hours=2))
        estate.wait("the setting to be told", lambda: estate.news(newest, "clock_set"))


def _wait_over(estate: Estate, newest: int) -> dict[str, Any]:
    """What the journal says once training goes on, by kind."""
    estate.wait("training to go on", lambda: estate.news(newest, "outage_over"))
    kinds = {"outage_over": "outage_over"}
    kinds["resumed"] = "resumed" if estate.news(newest, "resumed") else "started"
    return {name: estate.news(newest, kind)[0] for name, kind in kinds.items()}


def _is_told_right(
    told: dict[str, Any],
    spans: tuple[datetime, datetime],
    cut_at: datetime,
    *,
    dead_clock: bool,
) -> bool:
    """Since when and how long, to the second; and no length where no clock could tell it."""
    since = datetime.fromisoformat(told["since"])
    if dead_clock:
        return since <= cut_at and told["seconds"] is None and "never set" in told["doubt"]
    until = since + timedelta(seconds=told["seconds"])
    return since <= cut_at and not told["doubt"] and spans[0] <= until <= spans[1]


def _newest_saved(house: House, run: str) -> int:
    """The step of the last checkpoint that the daemon told of."""
    saved = [e for e in house.journal() if e["kind"] == "checkpoint_saved" and e["run"] == run]
    return max((int(entry["data"]["step"]) for entry in saved), default=0)
