"""make bench-start: from ``homerun serve`` to the first resumed step; the daemon's memory."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from tests.bench.machine import header, spread
from tests.story.house import CLOCK, House


def one_start(house: House) -> tuple[float, float, float]:
    """Seconds until the API answers, until the first resumed step, and the daemon's MB."""
    began = CLOCK.monotonic()
    process = house.launch()
    house.wait_up()
    answers = CLOCK.monotonic() - began
    house.wait_status("a resumed step", _stepped)
    stepped = CLOCK.monotonic() - began
    resident = psutil.Process(process.pid).memory_info().rss / 1e6
    assert house.terminate() == 0
    return answers, stepped, resident


def _stepped(status: Any) -> bool:
    run = status["run"]
    return bool(run and run["phase"] == "train" and run["step_seconds"] and run["attempt"])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(header("make bench-start"))
    for engine in ("local", "ray"):
        with tempfile.TemporaryDirectory(prefix="hr-") as folder:
            house = House(Path(folder), engine=engine)
            house.start()
            house.submit(steps=1_000_000, every_seconds="5")
            house.wait_step(10)
            house.wait_status("a checkpoint", lambda status: status["run"]["checkpoint"])
            assert house.terminate() == 0
            rounds = [one_start(house) for _ in range(arguments.rounds)]
            house.close()
        answers, stepped, resident = zip(*rounds, strict=True)
        print(f"{engine}: API answers after {spread(answers)} s")
        print(f"{engine}: first resumed step after {spread(stepped)} s")
        print(f"{engine}: the daemon's resident memory {spread(resident)} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
