"""Memory runs out, and the kernel really kills: the run goes on from memory, and is told why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.memory_group import MemoryGroup, NoMemoryGroup, make_memory_group
from tests.story.conftest import MakeHouse, Undisturbed
from tests.story.house import House, digest, trainer_pid, wait_for
from trainer.checkpoint import slots

STEPS = 80
#: steps of some hundredths of a second: each is copied while the next one computes
SLOW = {"batch_tokens": "512"}
#: what is not in memory is lost: the only checkpoint on the disk is the first
NO_SAVES = {"every_seconds": "3600"}


@pytest.fixture
def make_group() -> Iterator[Callable[[], MemoryGroup]]:
    with contextlib.ExitStack() as stack:

        def make() -> MemoryGroup:
            try:
                group = make_memory_group()
            except NoMemoryGroup as error:
                pytest.skip(str(error))
            stack.callback(group.close)
            return group

        yield make


@pytest.mark.timeout(600)  # four starts take long on a machine with other work
def test_trainer_and_engine_are_killed_for_want_of_memory_and_no_step_that_memory_holds_is_lost(
    make_group: Callable[[], MemoryGroup], make_house: MakeHouse, undisturbed: Undisturbed
) -> None:
    memory = make_group()
    # the pause leaves time to look at the slots before the next trainer writes into them
    options = {"backoff_first": '"2s"'}
    house: House = make_house(wrapper=memory.wrapper, daemon_options=options).start()
    house.submit(steps=STEPS, **SLOW, **NO_SAVES)
    trainer = trainer_pid(house.wait_step(8))
    assert house.process is not None
    daemon, engine = house.process.pid, engine_pid(house)
    assert trainer is not None
    assert engine is not None
    # All are in the group: the slots in shared memory are charged to it too, and outlive the kill.
    assert {trainer, daemon, engine} <= memory.pids()
    assert badness(trainer) > badness(daemon)
    assert badness(engine) > badness(daemon)

    memory.squeeze()
    assert died(house, 1).startswith("killed by the kernel: this machine ran out of memory (")
    kept = max(entry.step for entry in slots.whole(house.run_dir()))
    memory.lift()
    goes_on_from = goes_on(house, 1)
    assert goes_on_from["checkpoint"].startswith("memory/")
    assert goes_on_from["step"] == kept > 1
    # On a busy machine the kernel may go on to the next before the first has let go of its memory.
    assert engine_pid(house) == engine or memory.kills() > 1

    engine = engine_pid(house)
    assert engine is not None
    memory.squeeze(first=engine)
    assert died(house, 2).startswith("killed by the kernel: this machine ran out of memory (")
    kept = max(entry.step for entry in slots.whole(house.run_dir()))
    memory.lift()
    assert goes_on(house, 2)["step"] == kept
    assert engine_pid(house) != engine

    house.wait_finished()
    assert digest(house.run_dir(), STEPS) == undisturbed(STEPS, **SLOW)
    assert house.process.poll() is None, "the daemon never died"
    assert house.terminate() == 0
    house.wait_gone()


def died(house: House, count: int) -> str:
    """Why the newest attempt ended, once so many have."""

    def ended() -> list[Any]:
        ends = [item for item in house.run_record()["attempts"] if item["end"]]
        return ends if len(ends) >= count else []

    cause: str = wait_for(f"attempt {count} to end", ended)[-1]["cause"]
    return cause


def goes_on(house: House, count: int) -> Any:
    """From where the trainer after so many deaths goes on."""

    def resumed() -> list[Any]:
        found = [entry for entry in house.journal() if entry["kind"] == "resumed"]
        return found if len(found) >= count else []

    return wait_for("training to go on", resumed)[-1]["data"]


def engine_pid(house: House) -> int | None:
    """The engine process, below the daemon."""
    assert house.process is not None
    for child in psutil.Process(house.process.pid).children():
        if "orchestrator.engine.host" in child.cmdline():
            return child.pid
    return None


def badness(pid: int) -> int:
    """Who goes first when memory runs out, as the kernel itself says: the highest."""
    return int(Path(f"/proc/{pid}/oom_score").read_text(encoding="ascii"))
