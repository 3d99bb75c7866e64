"""SIGKILL of every process of a real daemon: itself, its engine, Ray, its trainer."""

from __future__ import annotations

import random
from pathlib import Path

import psutil

from tests.campaign.estate import LOCAL, RAY, Estate
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.story.house import CLOCK, House

#: the longest wait between two faults: start-up, loading and training are all hit
_LONGEST_SECONDS = 5.0
#: how often training may go on before the next one; else it hits what is still starting
_RECOVERED_FIRST = 0.7


def run(seed: int, count: int, root: Path, engine: str) -> list[Row]:
    """``count`` SIGKILLs at random moments; then the runs end and are compared."""
    steps = 1500 if engine == "ray" else 4000 if count > 10 else 400
    victims = RAY if engine == "ray" else LOCAL
    tallies = {name: Tally(f"SIGKILL of the {name} ({engine})") for name in victims}
    house = House(root / "house", engine=engine).start()
    try:
        estate = Estate(house, random.Random(seed), tallies, steps)
        order = [victims[number % len(victims)] for number in range(count)]
        estate.chance.shuffle(order)
        for victim in order:
            _kill(estate, victim)
        tallies[victims[0]].wrong += estate.compare()
        for tally in tallies.values():
            tally.recovered = tally.injected
    finally:
        house.close()
    return [tally.row() for tally in tallies.values()]


def _kill(estate: Estate, victim: str) -> None:
    """At a random moment, or as soon as there is one of these again."""
    estate.keep_training()
    CLOCK.sleep(estate.chance.uniform(0.0, _LONGEST_SECONDS))
    house, tally = estate.house, estate.tallies[victim]
    found: psutil.Process | None = estate.wait(
        f"a {victim}", lambda: estate.pick(victim) or house.status()["run"] is None
    )
    run = house.status()["run"]
    newest = estate.newest_entry()
    if run is None or not isinstance(found, psutil.Process):
        _kill(estate, victim)
        return
    if victim == "daemon":
        house.kill()
        estate.wait("all of it to be gone", lambda: not house.leftovers())
        house.start()
    elif not _killed(found):
        _kill(estate, victim)
        return
    tally.injected += 1
    tally.lost_seconds.append(run["unsaved_seconds"] or 0.0)
    if estate.chance.random() < _RECOVERED_FIRST:
        estate.wait(f"training to go on after the {victim}", lambda: estate.goes_on(newest))


def _killed(victim: psutil.Process) -> bool:
    """False when it was gone already: it may be one of those that an earlier kill takes along."""
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return False
    return True
