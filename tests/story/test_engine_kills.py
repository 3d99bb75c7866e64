"""Any part of the engine may die or hang: training goes on, with one trainer alive."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.story.conftest import Undisturbed
from tests.story.house import House, digest, trainer_pid, wait_for

STEPS = 1600
#: short, but a busy machine must be able to answer in three quarters of it
HUNG_SECONDS = 6


@pytest.fixture(scope="module")
def ray_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One daemon on Ray for all the deaths; the run ends with the last of them."""
    options = {"hung_after": f'"{HUNG_SECONDS}s"'}
    house = House(tmp_path_factory.mktemp("ray") / "house", engine="ray", engine_options=options)
    house.start()
    house.submit(steps=STEPS)
    yield house
    house.close()


def part(name: str) -> Callable[[House], psutil.Process]:
    """Find a part of the engine by what its command line says."""

    def find(house: House) -> psutil.Process:
        def look() -> psutil.Process | None:
            for process in house.leftovers():
                line = " ".join(process.cmdline())
                if name in line and "homerun serve" not in line:
                    return process
            return None

        found: psutil.Process = wait_for(f"a {name}", look)
        return found

    return find


def the_actor(house: House) -> psutil.Process:
    """The trainer itself."""
    pid = trainer_pid(house.wait_status("a trainer", trainer_pid))
    assert pid is not None
    return psutil.Process(pid)


@pytest.mark.parametrize(
    "find",
    [
        pytest.param(part("orchestrator.engine.host"), id="engine process"),
        pytest.param(part("gcs_server"), id="GCS"),
        pytest.param(part("raylet/raylet"), id="raylet"),
        pytest.param(the_actor, id="actor"),
    ],
)
def test_a_dead_part_of_the_engine_costs_only_a_restart(
    ray_house: House, find: Callable[[House], psutil.Process]
) -> None:
    before = ray_house.wait_status("a step to lose", has_checkpoint)
    victim = find(ray_house)
    attempt = before["run"]["attempt"]
    os.kill(victim.pid, signal.SIGKILL)
    after = ray_house.wait_status(
        "the next attempt to train",
        lambda s: s["run"]["attempt"] and s["run"]["attempt"] > attempt and has_checkpoint(s),
    )
    assert trainer_pid(after) is not None
    assert trainers_alive(ray_house) == [trainer_pid(after)], ray_house.journal()[-5:]
    ended = [a for a in ray_house.run_record()["attempts"] if a["number"] == attempt]
    assert ended[0]["cause"]


@pytest.mark.parametrize(
    ("part_of_ray", "named"), [("gcs_server", "GCS"), ("raylet/raylet", "raylet")]
)
def test_a_hung_part_of_ray_is_named_and_costs_only_a_restart(
    ray_house: House, part_of_ray: str, named: str
) -> None:
    before = ray_house.wait_status("a step to lose", has_checkpoint)
    attempt = before["run"]["attempt"]
    os.kill(part(part_of_ray)(ray_house).pid, signal.SIGSTOP)
    after = ray_house.wait_status(
        "the next attempt to train",
        lambda s: s["run"]["attempt"] and s["run"]["attempt"] > attempt and has_checkpoint(s),
    )
    assert trainers_alive(ray_house) == [trainer_pid(after)], ray_house.journal()[-5:]
    ended = [a for a in ray_house.run_record()["attempts"] if a["number"] == attempt]
    assert ended[0]["cause"] == f"the {named} does not answer: it is stopped by a signal"


def test_and_the_weights_are_those_of_an_undisturbed_run(
    ray_house: House, undisturbed: Undisturbed
) -> None:
    ray_house.wait_finished(seconds=240)
    assert digest(ray_house.run_dir(), STEPS) == undisturbed(STEPS)
    assert ray_house.terminate() == 0
    ray_house.wait_gone()


def has_checkpoint(status: dict[str, dict[str, object]]) -> bool:
    """A trainer computes and has something to fall back to."""
    run = status["run"]
    return bool(run and run["trainer_pid"] and run["checkpoint"] and run["phase"] == "train")


def trainers_alive(house: House) -> list[int]:
    """The pids that hold the run's lock file open."""
    lock = str(house.run_dir() / "lock")
    return [
        process.pid
        for process in psutil.process_iter()
        if any(item.path == lock for item in open_files(process))
    ]


def open_files(process: psutil.Process) -> list[psutil._common.popenfile]:
    """The files that a process has open; none when it is gone."""
    try:
        return process.open_files()
    except psutil.Error:
        return []
