"""The disk under a whole real daemon, its store included, is full or broken: an ext4 on a loop.

A full disk heals by itself when there is room. A file system that has stopped on an error needs a
person who mounts it again; until then training goes on, and its newest state is in memory.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.campaign.estate import PATIENCE_SECONDS, Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.powercut.loopdisk import LoopDisk, loop_disk, unusable
from tests.story.house import House, lives
from trainer.checkpoint import slots

#: how much further training has to come while the disk is out of order
_STEPS_MEANWHILE = 60
_BALLAST_BYTES = 1 << 20


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` of each; nothing where no ext4 can be mounted."""
    if missing := unusable("ext4"):
        print(missing, file=sys.stderr)
        return []
    tallies = {name: Tally(f"{name} (ext4, real daemon)") for name in FAULTS}
    with loop_disk("ext4") as disk:
        house = House(disk.root / "house").start()
        try:
            estate = Estate(house, random.Random(seed), tallies, steps=1500)
            for name in list(FAULTS) * count:
                tallies[name].injected += 1
                tallies[name].wrong += not FAULTS[name](Break(estate, disk))
                tallies[name].recovered_after(0.0)
            next(iter(tallies.values())).wrong += estate.compare()
        finally:
            house.close()
    return [tally.row() for tally in tallies.values()]


class Break:
    """One time that the disk is out of order."""

    def __init__(self, estate: Estate, disk: LoopDisk) -> None:
        self.estate = estate
        self.house = estate.house
        self.disk = disk
        self.run = self._wait_early()
        self.run_dir = self.house.run_dir(self.run["name"])
        self.newest = self.estate.newest_entry()

    def _wait_early(self) -> Any:
        """A run that has saved, with enough before it."""
        while True:
            run = self.estate.wait_training()["run"]
            if run["step"] > self.estate.steps / 2:
                self.house.wait_finished(run["name"], 2 * PATIENCE_SECONDS)
            elif run["checkpoint"]:
                return run

    def computed(self) -> int:
        """The newest step that is whole in memory, whatever daemon and disk know of it."""
        return max((slot.step for slot in slots.whole(self.run_dir)), default=0)

    def unmounts(self) -> bool:
        """Whether nobody has a file open there any more; then it is taken down."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.disk.unmount()
            return True
        return False

    def trains_on(self) -> bool:
        """The same trainer goes on computing."""
        trainer = psutil.Process(self.run["trainer_pid"])
        enough = self.computed() + _STEPS_MEANWHILE
        self.estate.wait("training to go on", lambda: self.computed() >= enough)
        return lives(trainer)


def _full(one: Break) -> bool:
    """Nothing can be written for a while, neither checkpoints nor journal; then there is room."""
    house, ballast = one.house, one.disk.root / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(_BALLAST_BYTES))
    trains = one.trains_on()
    ballast.unlink()
    done = house.homerun("checkpoints", "save")
    ended = one.estate.news(one.newest, "attempt_ended")
    return trains and done.returncode == 0 and not ended


def _read_only(one: Break) -> bool:
    """Training goes on without the disk; a person ends everything and mounts it again."""
    house = one.house
    one.disk.fail()
    trains = one.trains_on()
    house.kill_all()
    reached = one.computed()
    # one that was killed lets go of its files a little later than it is gone
    one.estate.wait("the disk to be free", one.unmounts)
    one.disk.mount()
    house.start()
    one.estate.wait("training to go on", lambda: one.estate.goes_on(one.newest))
    resumed = one.estate.news(one.newest, "resumed")[0]
    return trains and bool(resumed["data"]["step"] == reached)


FAULTS: dict[str, Callable[[Break], bool]] = {
    "the disk is full": _full,
    "the file system turns read-only": _read_only,
}
