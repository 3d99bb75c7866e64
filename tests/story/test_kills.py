"""Kill what you like: the run ends with the bytes of one that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.story.conftest import MakeHouse, Undisturbed
from tests.story.house import CLOCK, House, digest, trainer_pid, wait_for

STEPS = 2000
TRAINER_KILLS = 20
DAEMON_KILLS = 10


@pytest.mark.timeout(600)  # thirty starts take long on a machine with other work
def test_twenty_dead_trainers_and_ten_dead_daemons_change_no_byte(
    make_house: MakeHouse, undisturbed: Undisturbed
) -> None:
    chance = random.Random(20261201)
    house: House = make_house(engine="ray").start()
    house.submit(steps=STEPS, writer="process")
    deaths = ["trainer"] * TRAINER_KILLS + ["daemon"] * DAEMON_KILLS
    chance.shuffle(deaths)
    for victim in deaths:
        if victim == "trainer":
            kill_the_trainer(house, chance)
        else:
            kill_the_daemon(house, chance)
    run = house.wait_finished(seconds=240)

    assert run["steps"] == STEPS
    assert digest(house.run_dir(), STEPS) == undisturbed(STEPS)
    attempts = house.run_record()["attempts"]
    ends = [attempt["end"] for attempt in attempts]
    assert ends.count("crashed") == TRAINER_KILLS
    assert all(attempt["cause"] for attempt in attempts[:-1])
    told = [entry for entry in house.journal() if entry["kind"] == "attempt_ended"]
    assert len(told) >= len(attempts) - 1
    assert house.terminate() == 0
    house.wait_gone()


def kill_the_trainer(house: House, chance: random.Random) -> None:
    """SIGKILL at a random moment of its life, loading and saving included."""
    house.wait_status("a trainer", trainer_pid)
    CLOCK.sleep(chance.uniform(0.0, 4.0))
    attempt = wait_for("a trainer to kill", lambda: kill_now(house))

    def noticed() -> bool:
        attempts = house.run_record()["attempts"]
        return any(item["number"] == attempt and item["end"] == "crashed" for item in attempts)

    wait_for(f"the daemon to notice the death of attempt {attempt}", noticed)


def kill_now(house: House) -> int | None:
    """Kill the trainer that runs at this moment; its attempt, or None when there was none."""
    run = house.status()["run"]
    assert run is not None, "the run ended before all the kills were done"
    if run["trainer_pid"] is None:
        return None
    try:
        os.kill(run["trainer_pid"], signal.SIGKILL)
    except ProcessLookupError:
        return None
    attempt: int = run["attempt"]
    return attempt


def kill_the_daemon(house: House, chance: random.Random) -> None:
    """SIGKILL at a random moment, start-up included; nothing of ours may be left after 10 s."""
    CLOCK.sleep(chance.uniform(0.0, 6.0))
    house.kill()
    house.wait_gone(10.0)
    house.start()
