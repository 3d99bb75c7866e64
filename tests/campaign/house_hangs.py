"""SIGSTOP of what a real daemon has started: nothing dies, nothing answers."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import psutil

from tests.campaign.estate import Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.story.house import CLOCK, House

#: a trainer that says nothing for so long is killed by the daemon
STALL_SECONDS = 4.0
#: the same for the engine process and parts of Ray, and while they start
_HUNG_SECONDS = 6.0
_START_SECONDS = 20.0
_STARTING = " while Ray starts"
_LOCAL = ("trainer", "engine process")
_RAY = (*_LOCAL, "raylet", "GCS", f"raylet{_STARTING}", f"GCS{_STARTING}")
#: of these the journal must say one; the trainer's silence may be noticed before its engine's
_CAUSES = {
    "trainer": ("no sign of life",),
    "engine process": ("no sign of life", "the engine process does not answer"),
    "raylet": ("the raylet does not answer",),
    "GCS": ("the GCS does not answer",),
}


def run(seed: int, count: int, root: Path, engine: str) -> list[Row]:
    """``count`` stops, each of which the daemon must notice by itself and name.

    One that is never named, or after which training does not go on, breaks the section off.
    """
    steps = 1500 if engine == "ray" else 2000 if count > 4 else 400
    victims = _RAY if engine == "ray" else _LOCAL
    tallies = {name: Tally(f"SIGSTOP of the {name} ({engine})") for name in victims}
    house = House(
        root / "house",
        engine=engine,
        daemon_options={"stall_after": f'"{STALL_SECONDS:.0f}s"', "start_timeout": '"60s"'},
        engine_options={
            "hung_after": f'"{_HUNG_SECONDS:.0f}s"',
            "start_timeout": f'"{_START_SECONDS:.0f}s"',
        },
    ).start()
    try:
        estate = Estate(house, random.Random(seed), tallies, steps)
        for number in range(count):
            _stop(estate, victims[number % len(victims)])
        tallies[victims[0]].wrong += estate.compare()
    finally:
        house.close()
    return [tally.row() for tally in tallies.values()]


def _stop(estate: Estate, victim: str) -> None:
    house, tally = estate.house, estate.tallies[victim]
    estate.wait_training()
    part = victim.removesuffix(_STARTING)
    newest = estate.newest_entry()
    if part != victim:
        engine = _found(estate, "engine process")
        engine.kill()
        engine.wait()
    found = _found(estate, part)
    os.kill(found.pid, signal.SIGSTOP)
    before = CLOCK.monotonic()
    estate.wait(
        f"the journal to name the {victim}",
        lambda: _named(estate, newest, part) or house.status()["run"] is None,
    )
    named = _named(estate, newest, part)
    if named is None:
        # a hung part of Ray stops no trainer, and this one had come to its end
        _stop(estate, victim)
        return
    tally.injected += 1
    estate.wait(f"training to go on after the {victim} hung", lambda: estate.goes_on(named))
    tally.recovered_after(CLOCK.monotonic() - before)


def _named(estate: Estate, newest: int, part: str) -> int | None:
    """The id of the entry that says what hung."""
    for entry in estate.told_since(newest):
        if any(cause in entry["message"] for cause in _CAUSES[part]):
            return int(entry["id"])
    return None


def _found(estate: Estate, part: str) -> psutil.Process:
    def look() -> psutil.Process | None:
        found = estate.pick(part)
        if found is None:
            # the run may have ended just now, and its engine with it
            estate.keep_training()
        return found

    found: psutil.Process = estate.wait(f"a {part}", look)
    return found
