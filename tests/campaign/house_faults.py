"""SIGKILL and SIGSTOP of every process of a real daemon: itself, its engine, Ray, its trainer."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.story.house import CLOCK, House, digest, trainer_pid, wait_for

#: what stands in the command line of each part; the daemon and the trainer are known otherwise
PARTS = {
    "engine process": "orchestrator.engine.host",
    "raylet": "raylet/raylet",
    "GCS": "gcs_server",
}
LOCAL = ("daemon", "trainer", "engine process")
RAY = ("daemon", "trainer", "engine process", "raylet", "GCS")
#: a trainer, or an engine process, that says nothing for so long is killed by the daemon
STALL_SECONDS = 4.0
#: the longest wait between two faults: start-up, loading and training are all hit
_LONGEST_SECONDS = 5.0


@dataclass
class Estate:
    """A house whose runs are disturbed one after the other, and what is known of it."""

    house: House
    chance: random.Random
    tallies: Mapping[str, Tally]
    #: of each run; long enough that most runs take several faults
    steps: int
    runs: list[str] = field(default_factory=list)

    def pick(self, victim: str) -> psutil.Process | None:
        """The process now, or None while there is none."""
        if victim == "daemon":
            assert self.house.process is not None
            return psutil.Process(self.house.process.pid)
        if victim == "trainer":
            pid = trainer_pid(self.house.status())
            return psutil.Process(pid) if pid else None
        return next((p for p in self.house.leftovers() if PARTS[victim] in _line(p)), None)

    def keep_training(self) -> None:
        """Submit another run when the last one is finished."""
        if self.house.status()["run"] is None:
            self.runs.append(f"tiny{len(self.runs)}")
            self.house.submit(name=self.runs[-1], steps=self.steps, batch_tokens="64")
            self.house.wait_status("the run", lambda status: status["run"])


def kills(seed: int, count: int, root: Path, engine: str, steps: int) -> list[Row]:
    """``count`` SIGKILLs at random moments; then the runs end and are compared."""
    victims = RAY if engine == "ray" else LOCAL
    tallies = {name: Tally(f"SIGKILL of the {name} ({engine})") for name in victims}
    house = House(root / "house", engine=engine).start()
    try:
        estate = Estate(house, random.Random(seed), tallies, steps)
        order = [victims[number % len(victims)] for number in range(count)]
        estate.chance.shuffle(order)
        for victim in order:
            estate.keep_training()
            CLOCK.sleep(estate.chance.uniform(0.0, _LONGEST_SECONDS))
            _kill(estate, victim)
        _compare(estate)
        for tally in tallies.values():
            tally.recovered = tally.injected
    finally:
        house.close()
    return [tally.row() for tally in tallies.values()]


def _kill(estate: Estate, victim: str) -> None:
    house, tally = estate.house, estate.tallies[victim]
    found: psutil.Process | None = wait_for(
        f"a {victim}", lambda: _alive(estate, victim) or house.status()["run"] is None
    )
    run = house.status()["run"]
    newest = _newest_entry(house)
    if run is None or not isinstance(found, psutil.Process):
        estate.keep_training()
        _kill(estate, victim)
        return
    if victim == "daemon":
        house.kill()
        house.wait_gone(60.0)
        house.start()
    else:
        found.kill()
    tally.injected += 1
    tally.lost_seconds.append(run["unsaved_seconds"] or 0.0)
    # often the next one hits what is still starting
    if estate.chance.random() < 0.7:
        wait_for(f"training to go on after the {victim}", lambda: _goes_on(house, newest))


def _alive(estate: Estate, victim: str) -> psutil.Process | None:
    try:
        found = estate.pick(victim)
        return found if found is not None and found.is_running() else None
    except psutil.Error:
        return None


def _newest_entry(house: House) -> int:
    return max((int(entry["id"]) for entry in house.journal()), default=0)


def _goes_on(house: House, newest: int) -> bool:
    """Whether a later trainer has said Ready, or the run is done already."""
    return any(
        entry["id"] > newest and entry["kind"] in ("resumed", "started", "run_finished")
        for entry in house.journal()
    )


def _compare(estate: Estate) -> None:
    """Let the last run finish; all must have ended with the bytes of an undisturbed one."""
    house, first = estate.house, next(iter(estate.tallies.values()))
    truth = ""
    for name in estate.runs:
        house.wait_finished(name, 600.0, 0.5)
        truth = truth or _truth(house, name, estate.steps)
        first.wrong += digest(house.run_dir(name), estate.steps) != truth
    house.terminate()
    house.wait_gone(60.0)


def _truth(house: House, name: str, steps: int) -> str:
    """What the same spec ends with when nothing happens and no daemon is there."""
    where = house.root / "undisturbed" / "run"
    line = [sys.executable, "-m", "trainer", str(house.root / f"{name}.toml"), "--dir", str(where)]
    subprocess.run(line, check=True, capture_output=True, timeout=600)
    return digest(where, steps)


# --- hung -----------------------------------------------------------------------------------


def hangs(seed: int, count: int, root: Path, engine: str, steps: int) -> list[Row]:
    """SIGSTOP: nothing dies, nothing answers; the daemon must notice by itself."""
    victims = ("trainer", "engine process")
    tallies = {name: Tally(f"SIGSTOP of the {name} ({engine})") for name in victims}
    options = {"stall_after": f'"{STALL_SECONDS:.0f}s"', "start_timeout": '"30s"'}
    house = House(root / "house", engine=engine, daemon_options=options).start()
    try:
        estate = Estate(house, random.Random(seed), tallies, steps)
        for number in range(count):
            estate.keep_training()
            house.wait_status("training", _trains)
            _stop(estate, victims[number % len(victims)])
        _compare(estate)
    finally:
        house.close()
    return [tally.row() for tally in tallies.values()]


def _stop(estate: Estate, victim: str) -> None:
    house, tally = estate.house, estate.tallies[victim]
    found: psutil.Process = wait_for(f"a {victim}", lambda: _alive(estate, victim))
    newest = _newest_entry(house)
    os.kill(found.pid, signal.SIGSTOP)
    before = CLOCK.monotonic()
    tally.injected += 1
    wait_for(f"training to go on after the {victim} hung", lambda: _goes_on(house, newest))
    tally.recovered_after(CLOCK.monotonic() - before)
    told = [e for e in house.journal() if e["id"] > newest and e["kind"] == "attempt_ended"]
    if not any("no sign of life" in entry["message"] for entry in told):
        tally.wrong += 1


def _trains(status: Any) -> bool:
    run = status["run"]
    return bool(run and run["trainer_pid"] and run["phase"] == "train")


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
