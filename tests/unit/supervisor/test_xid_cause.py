"""The driver reports an Xid and the trainer ends: cause and journal name it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.home.oom import FakeOom
from orchestrator.home.xid import FakeXids
from orchestrator.power.xid_watch import XidWatch
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m


@pytest.fixture
def driver(rig: Rig) -> FakeXids:
    return FakeXids()


def training(rig: Rig, driver: FakeXids) -> XidWatch:
    """A run that computes on a card whose driver is listened to."""
    watch = XidWatch((driver,), rig.clock, rig.supervisor.inbox.put)
    rig.supervisor.xids = watch
    rig.submit()
    rig.train(0, 2)
    rig.clock.advance(1.0)
    return watch


def causes(rig: Rig) -> list[str]:
    return [attempt.cause for attempt in rig.commands.attempts("month")]


def test_a_crash_after_a_page_fault_names_it_and_so_does_the_journal(
    rig: Rig, driver: FakeXids
) -> None:
    watch = training(rig, driver)
    driver.throw(31, "pid=4711, name=python")
    driver.throw(45)
    watch.listen(driver, 0.0)
    rig.die("exit code 1")
    assert causes(rig)[0] == "exit code 1 (Xid 31: GPU memory page fault)"
    told = {entry.kind: entry for entry in rig.commands.journal(limit=99)}
    assert "ended: exit code 1 (Xid 31: GPU memory page fault)." in told["attempt_ended"].message
    xid = next(e for e in rig.commands.journal(limit=99) if e.data.get("xid") == 31)
    assert (xid.kind, xid.run, xid.severity) == ("gpu_xid", "month", "warning")


def test_an_error_that_the_trainer_tells_itself_is_named_too(rig: Rig, driver: FakeXids) -> None:
    watch = training(rig, driver)
    driver.throw(13)
    watch.listen(driver, 0.0)
    rig.engine.event(m.Failed("crash", "CUDA error: an illegal memory access", True))
    rig.die("exit code 1")
    assert causes(rig)[0].endswith("illegal memory access (Xid 13: graphics engine exception)")


def test_an_engine_that_is_lost_with_the_trainer_is_named_too(rig: Rig, driver: FakeXids) -> None:
    watch = training(rig, driver)
    driver.throw(43)
    watch.listen(driver, 0.0)
    rig.engine.lose("the engine process ended: exit code 1")
    rig.settle()
    assert causes(rig)[0].endswith("(Xid 43: GPU stopped processing)")


def test_a_trainer_that_hangs_after_it_is_killed_much_later_and_still_told(
    rig: Rig, driver: FakeXids
) -> None:
    watch = training(rig, driver)
    driver.throw(109)
    watch.listen(driver, 0.0)
    rig.pass_time(rig.policy.stall_after_seconds + 60.0)
    rig.settle()
    assert "(Xid 109: context switch timeout)" in causes(rig)[0]


def test_one_long_before_or_in_an_earlier_life_explains_nothing(rig: Rig, driver: FakeXids) -> None:
    watch = training(rig, driver)
    driver.throw(31)
    watch.listen(driver, 0.0)
    rig.clock.advance(60.0)
    rig.train(2, 3)
    rig.die("exit code 1")
    assert causes(rig)[0] == "exit code 1"
    driver.throw(31)
    watch.listen(driver, 0.0)
    rig.die("exit code 2")
    assert causes(rig)[1] == "exit code 2", "of the life before"


def test_an_end_that_was_wanted_is_not_blamed_on_the_card(rig: Rig, driver: FakeXids) -> None:
    watch = training(rig, driver)
    driver.throw(45)
    watch.listen(driver, 0.0)
    rig.engine.event(m.Stopped(2, ""))
    rig.die("exit code 0")
    assert causes(rig)[0] == "stopped as told at step 2"


def test_memory_that_ran_out_stays_the_cause_beside_the_cleanup(rig: Rig, driver: FakeXids) -> None:
    rig.supervisor.oom = kernel = FakeOom(3)
    watch = training(rig, driver)
    kernel.count = 4
    driver.throw(45)
    watch.listen(driver, 0.0)
    rig.die()
    assert causes(rig)[0].startswith("killed by the kernel: this machine ran out of memory")


def test_an_xid_while_nothing_runs_is_told_without_a_run(tmp_path: Path) -> None:
    rig, driver = Rig(tmp_path), FakeXids()
    watch = XidWatch((driver,), rig.clock, rig.supervisor.inbox.put)
    driver.throw(8)
    watch.listen(driver, 0.0)
    rig.settle()
    (entry,) = [e for e in rig.commands.journal(limit=99) if e.kind == "gpu_xid"]
    assert entry.run is None
    rig.store.close()
