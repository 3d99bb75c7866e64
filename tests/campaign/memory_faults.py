"""Memory really runs out: in a control group of the kernel, which kills whom it finds worst."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

from tests.campaign.estate import Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.memory_group import MemoryGroup, NoMemoryGroup, make_memory_group
from tests.story.house import CLOCK, House

_HOST, _ENGINE = "host", "engine process"
#: the longest wait for a moment of training
_LONGEST_SECONDS = 2.0


def run(seed: int, count: int, root: Path) -> list[Row]:
    """``count`` times in turn: the kernel takes whom it likes, or the engine process.

    Nothing where no memory control group can be made.
    """
    with contextlib.ExitStack() as stack:
        try:
            group = make_memory_group()
        except NoMemoryGroup:
            return []
        stack.callback(group.close)
        tallies = {
            _HOST: Tally("out of memory in the host (memory cgroup)"),
            _ENGINE: Tally("out of memory of the engine process (memory cgroup)"),
        }
        house = House(root / "house", wrapper=group.wrapper).start()
        stack.callback(house.close)
        estate = Estate(house, random.Random(seed), tallies, steps=2000)
        for number in range(count):
            victim = (_HOST, _ENGINE)[number % 2]
            _run_out(estate, victim, group)
        assert house.process is not None
        tallies[_HOST].wrong += house.process.poll() is not None
        tallies[_HOST].wrong += estate.compare()
        return [tally.row() for tally in tallies.values()]


def _run_out(estate: Estate, victim: str, group: MemoryGroup) -> None:
    """While a trainer computes that is far from its end; the daemon must name the cause."""
    CLOCK.sleep(estate.chance.uniform(0.0, _LONGEST_SECONDS))
    estate.wait("training", lambda: _trains(estate))
    tally, newest = estate.tallies[victim], estate.newest_entry()
    engine = estate.pick(_ENGINE) if victim == _ENGINE else None
    group.squeeze(first=engine.pid if engine else None)
    before = CLOCK.monotonic()
    tally.injected += 1
    told = estate.wait("the end of the attempt", lambda: _ends_told(estate, newest))
    group.lift()
    tally.wrong += not all("this machine ran out of memory" in message for message in told)
    estate.wait("training to go on", lambda: estate.goes_on(newest))
    tally.recovered_after(CLOCK.monotonic() - before)


def _trains(estate: Estate) -> bool:
    estate.keep_training()
    run = estate.house.status()["run"]
    return bool(run and run["trainer_pid"] and run["phase"] == "train" and run["step"] < 1000)


def _ends_told(estate: Estate, newest: int) -> list[str]:
    entries = estate.told_since(newest)
    return [entry["message"] for entry in entries if entry["kind"] == "attempt_ended"]
