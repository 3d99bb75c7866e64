"""A real daemon, a real trainer and a real bus: the machine sleeps only when the run is saved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests import login1
from tests.login1 import Logind, SystemBus
from tests.story.conftest import MakeHouse
from tests.story.house import House, lives, wait_for
from trainer.checkpoint import catalog

LONG = 1_000_000


@pytest.fixture
def bus() -> Iterator[SystemBus]:
    if not login1.is_installed() and not os.environ.get("CI"):
        pytest.skip("dbus is not installed")
    made = SystemBus()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def logind(bus: SystemBus) -> Iterator[Logind]:
    made = Logind(bus.address)
    # a busy machine may save slowly, and this is no test of speed
    made.properties["InhibitDelayMaxUSec"] = ("t", 60_000_000)
    made.start()
    yield made
    made.stop()


def newest_step(house: House) -> int:
    found = catalog.list_checkpoints(house.run_dir())
    return found[0].step if found else 0


def ends_of(house: House) -> list[Any]:
    entries = [entry for entry in house.journal() if entry["kind"] == "attempt_ended"]
    return [entry["data"] for entry in entries]


def test_the_machine_sleeps_when_the_last_step_is_committed_and_training_goes_on_when_it_wakes(
    make_house: MakeHouse, logind: Logind
) -> None:
    house = make_house(system_bus=logind.address)
    house.start()
    house.submit(steps=LONG, every_seconds="3600")
    status = house.wait_step(6)
    trainer = status["run"]["trainer_pid"]
    wait_for("the lock", lambda: len(logind.locks) == 1)

    found: list[tuple[int, bool]] = []
    processes = {process.pid: process for process in house.leftovers()}
    logind.on_let_go = lambda: found.append((newest_step(house), lives(processes[trainer])))
    assert newest_step(house) == 0, "no save is due for an hour"

    logind.announce("PrepareForSleep", True)
    wait_for("the lock to be gone", lambda: not logind.locks)
    (last,) = ends_of(house)
    # seen when the lock went: everything that was computed, and nobody on the card
    assert found == [(last["step"], False)]
    assert last["step"] >= 6
    asleep = house.status()
    assert [hold["reason"] for hold in asleep["holds"]] == ["sleep"]
    assert "goes to sleep" in asleep["headline"]

    logind.announce("PrepareForSleep", False)
    house.wait_step(last["step"] + 2)
    wait_for("the next lock", lambda: len(logind.locks) == 1)
    kinds = house.journal_kinds()
    assert {"lock_released", "hold_started", "hold_ended", "resumed"} <= set(kinds)
    assert house.status()["run"]["lost_steps"] == 0

    logind.announce("PrepareForShutdown", True)
    wait_for("the lock to be gone", lambda: not logind.locks)
    gone = ends_of(house)[-1]
    assert (found[-1], gone["end"]) == ((gone["step"], False), "stopped")
    assert house.terminate() == 0
