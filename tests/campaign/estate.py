"""Estate: a house whose runs are disturbed one after the other, and what is known of it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.campaign.tally import Tally
from tests.story.house import House, digest, lives, trainer_pid, wait_for
from trainer.checkpoint import slots

#: what stands in the command line of each part; the daemon and the trainer are known otherwise
PARTS = {
    "engine process": "orchestrator.engine.host",
    "raylet": "raylet/raylet",
    "GCS": "gcs/gcs_server",
}
LOCAL = ("daemon", "trainer", "engine process")
RAY = (*LOCAL, "raylet", "GCS")
#: a look costs the two cores of a small machine, on which the daemon is to start again
LOOK_SECONDS = 0.2
#: the longest that anything may take while other sections run beside this one
PATIENCE_SECONDS = 240.0


@dataclass
class Estate:
    """One daemon and its runs."""

    house: House
    chance: random.Random
    tallies: Mapping[str, Tally]
    #: of each run; long enough that most runs take several faults
    steps: int
    runs: list[str] = field(default_factory=list)

    def pick(self, victim: str) -> psutil.Process | None:
        """The living process, or None while there is none."""
        try:
            found = self._pick(victim)
        except psutil.Error:
            return None
        return found if found is not None and lives(found) else None

    def _pick(self, victim: str) -> psutil.Process | None:
        assert self.house.process is not None
        daemon = psutil.Process(self.house.process.pid)
        if victim == "daemon":
            return daemon
        if victim == "trainer":
            pid = trainer_pid(self.house.status())
            return psutil.Process(pid) if pid else None
        below = daemon.children(recursive=True)
        return next((part for part in below if PARTS[victim] in _first_words(part)), None)

    def keep_training(self) -> None:
        """Submit another run when the last one is finished."""
        if self.house.status()["run"] is None:
            self.runs.append(f"tiny{len(self.runs)}")
            self.house.submit(name=self.runs[-1], steps=self.steps, batch_tokens="64")
            self.wait("the run", lambda: self.house.status()["run"])

    def wait_training(self) -> Any:
        """The status while a trainer computes; of another run when the last one ends meanwhile."""

        def look() -> Any:
            status = self.house.status()
            if status["run"] is None:
                self.keep_training()
            return status if trains(status) else None

        self.keep_training()
        return self.wait("training", look)

    def newest_entry(self) -> int:
        """The id of the newest entry in the journal."""
        return max(int(entry["id"]) for entry in self.house.get("/api/v1/journal?limit=1"))

    def told_since(self, newest: int) -> list[Any]:
        """The journal after that entry."""
        entries: list[Any] = self.house.get(f"/api/v1/journal?after={newest}&limit=1000")
        return entries

    def news(self, newest: int, kind: str) -> list[Any]:
        """What of that kind the journal says after that entry, oldest first."""
        return [entry for entry in self.told_since(newest) if entry["kind"] == kind]

    def goes_on(self, newest: int) -> bool:
        """Whether a later trainer has said Ready, or the run is done already."""
        kinds = {entry["kind"] for entry in self.told_since(newest)}
        return bool(kinds & {"resumed", "started", "run_finished"})

    def compare(self) -> int:
        """Let the last run finish; how many ended with other bytes than an undisturbed one."""
        truth, wrong = "", 0
        for name in self.runs:
            self.house.wait_finished(name, 2 * PATIENCE_SECONDS, LOOK_SECONDS)
            truth = truth or self._truth(name)
            wrong += digest(self.house.run_dir(name), self.steps) != truth
        self.house.terminate()
        self.wait("every process to be gone", lambda: not self.house.leftovers())
        return wrong

    def _truth(self, name: str) -> str:
        """What the same spec ends with when nothing happens and no daemon is there."""
        root = self.house.root
        where = root / "undisturbed" / "run"
        line = [sys.executable, "-m", "trainer", str(root / f"{name}.toml"), "--dir", str(where)]
        subprocess.run(line, check=True, capture_output=True, timeout=600)
        slots.discard(where)
        return digest(where, self.steps)

    @staticmethod
    def wait(what: str, condition: Callable[[], Any]) -> Any:
        """The first true value of ``condition``."""
        return wait_for(what, condition, PATIENCE_SECONDS, LOOK_SECONDS)


def trains(status: Any) -> bool:
    """Whether a trainer computes now."""
    run = status["run"]
    return bool(run and run["trainer_pid"] and run["phase"] == "train")


def _first_words(part: psutil.Process) -> str:
    """What is run, and not what is only mentioned further on."""
    try:
        return " ".join(part.cmdline()[:3])
    except psutil.Error:
        return ""
