"""What people ask for, with a real store and a fake engine."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain import AttemptEnd, Reason, RunState
from orchestrator.errors import Held, Invalid, Misconfigured, NotFound, Refused
from orchestrator.orders import SaveOrder
from tests.unit.supervisor.rig import SPEC, Rig
from trainer.contract import messages as m


def test_a_pause_is_in_the_store_before_it_is_acknowledged_and_survives_a_crash(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    until = rig.clock.now() + timedelta(hours=2)
    hold = rig.commands.pause(run=None, until=until, release=False, detail="gaming", source="cli")
    with rig.store.transaction() as tx:
        assert tx.holds.active(rig.clock.now()) == [hold]
    rig.settle()
    assert rig.engine.commands == [m.Pause()]
    rig.crash()
    snapshot = rig.settle()
    assert [(h.reason, h.until, h.detail) for h in snapshot.holds] == [
        (Reason.USER, until, "gaming")
    ]
    assert "start" not in rig.engine.calls


def test_a_pause_ends_by_itself_at_its_time(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    until = rig.clock.now() + timedelta(minutes=10)
    rig.commands.pause(run=None, until=until, release=False, detail="", source="cli")
    rig.settle()
    rig.engine.event(m.Phase("paused"))
    rig.pass_time(599)
    assert rig.engine.commands == [m.Pause()]
    rig.engine.event(m.Phase("paused"))
    rig.pass_time(1)
    assert rig.engine.commands == [m.Pause(), m.Resume()]
    assert "hold_ended" in rig.kinds()


def test_a_paused_run_that_saves_is_not_told_to_go_on(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.commands.pause(run=None, until=None, release=False, detail="", source="cli")
    for phase in ("paused", "checkpoint", "paused"):
        rig.settle()
        rig.engine.event(m.Phase(phase))
    rig.settle()
    kinds = rig.kinds()
    assert (kinds.count("paused"), kinds.count("unpaused")) == (1, 0)
    rig.commands.resume(run=None, source="cli")
    rig.settle()
    rig.engine.event(m.Phase("train"))
    rig.settle()
    assert rig.kinds().count("unpaused") == 1


def test_a_released_run_gives_everything_back_and_starts_again_on_resume(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.commands.pause(run=None, until=None, release=True, detail="", source="cli")
    rig.settle()
    assert rig.engine.commands == [m.Stop()]
    rig.engine.event(m.Stopped(2, "stop"))
    rig.die("exit code 0")
    assert rig.engine.calls[-1] == "shutdown"
    assert rig.ends() == [AttemptEnd.STOPPED]
    rig.commands.resume(run=None, source="cli")
    rig.settle()
    assert rig.engine.running == 2


def test_the_newest_pause_of_the_user_counts(rig: Rig) -> None:
    rig.submit()
    for hours in (5, 1):
        until = rig.clock.now() + timedelta(hours=hours)
        rig.commands.pause(run=None, until=until, release=False, detail="", source="cli")
    assert rig.settle().setpoint.until == until


def test_finish_leaves_at_the_next_checkpoint_and_stays_stopped(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.commands.finish(run=None, detail="", source="cli")
    rig.settle()
    assert rig.engine.commands == [m.Finish()]
    rig.engine.event(m.Saved(3, "gen-3", 10, 0.1, "finish"))
    rig.engine.event(m.Stopped(3, "finish"))
    rig.die("exit code 0")
    assert rig.engine.calls.count("start") == 1
    assert rig.ends() == [AttemptEnd.STOPPED]


def test_a_finish_can_be_taken_back(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.commands.finish(run=None, detail="", source="cli")
    rig.settle()
    rig.commands.resume(run=None, source="cli")
    rig.settle()
    assert rig.engine.commands == [m.Finish(), m.Resume()]
    assert rig.pass_time(10).counters["month"]["commands"] == 2


def test_the_next_run_starts_when_one_finishes_and_priority_decides(rig: Rig) -> None:
    rig.submit()
    rig.submit(name="later")
    rig.submit(name="urgent", priority=5)
    assert [item.name for item in rig.settle().queue] == ["urgent", "later"]
    rig.train(0, 1)
    rig.engine.event(m.Finished(100, 8.0, 2.0, "def f", "gen-100"))
    rig.die("exit code 0")
    assert rig.commands.run("month").state is RunState.FINISHED
    assert rig.commands.run("month").bits_per_byte == 2.0
    assert rig.engine.jobs[-1].spec.name == "urgent"


def test_a_cancelled_run_is_saved_and_stopped_and_the_next_one_starts(rig: Rig) -> None:
    rig.submit()
    rig.submit(name="later")
    rig.train(0, 1)
    rig.commands.cancel("month", "cli")
    rig.settle()
    assert rig.engine.commands == [m.Stop()]
    rig.engine.event(m.Stopped(1, "stop"))
    rig.die("exit code 0")
    assert rig.engine.jobs[-1].spec.name == "later"
    with pytest.raises(Refused, match="already cancelled"):
        rig.commands.cancel("month", "cli")


def test_a_run_that_waits_is_put_before_the_others_and_one_that_does_not_is_left(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 1)
    rig.submit(name="later")
    rig.submit(name="urgent")
    assert rig.commands.prioritize("urgent", 5, "page").priority == 5
    snapshot = rig.settle()
    assert [(item.name, item.priority) for item in snapshot.queue] == [("urgent", 5), ("later", 0)]
    assert "run_prioritized" in rig.kinds()
    with pytest.raises(Refused, match="does not wait: it is active"):
        rig.commands.prioritize("month", 9, "page")
    with pytest.raises(Invalid, match="out of range"):
        rig.commands.prioritize("later", 1_000_001, "page")
    with pytest.raises(NotFound, match="no run"):
        rig.commands.prioritize("latr", 1, "page")


def test_an_order_for_a_checkpoint_is_answered_by_the_trainer(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    order = SaveOrder("r1")
    rig.supervisor.inbox.put(order)
    rig.settle()
    assert rig.engine.commands == [m.Save("r1")]
    rig.engine.event(m.Saved(2, "gen-2", 10, 0.1, "request", "r1"))
    rig.settle()
    assert order.answer.result(timeout=0).step == 2
    assert rig.commands.checkpoints("month")[0].name == "gen-2"


def test_an_order_that_fails_on_a_full_disk_says_so_and_training_goes_on(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    order = SaveOrder("r1")
    rig.supervisor.inbox.put(order)
    rig.settle()
    rig.engine.event(m.SaveFailed(2, "request", "no space left", "r1", "disk_full"))
    rig.settle()
    with pytest.raises(Refused, match="no space left"):
        order.answer.result(timeout=0)
    rig.step(3)
    snapshot = rig.settle()
    assert snapshot.run is not None
    assert snapshot.run.step == 3
    assert rig.pass_time(10).counters["month"]["checkpoint_failures"] == 1


def test_orders_without_a_trainer_are_refused_and_name_the_hold(rig: Rig) -> None:
    rig.submit()
    order = SaveOrder("r0")
    rig.supervisor.inbox.put(order)
    rig.settle()
    with pytest.raises(Refused, match="no trainer runs"):
        order.answer.result(timeout=0)
    rig.train(0, 1)
    rig.commands.pause(run=None, until=None, release=True, detail="", source="cli")
    rig.settle()
    late = SaveOrder("r1")
    rig.supervisor.inbox.put(late)
    rig.settle()
    rig.engine.event(m.Stopped(1, "stop"))
    rig.die("exit code 0")
    with pytest.raises(Held, match="held by user"):
        late.answer.result(timeout=0)


def test_bad_commands_are_refused_with_a_hint(rig: Rig) -> None:
    rig.submit()
    with pytest.raises(NotFound, match="did you mean 'month'"):
        rig.commands.pause(run="mnth", until=None, release=False, detail="", source="cli")
    past = rig.clock.now() - timedelta(seconds=1)
    with pytest.raises(Invalid, match="in the past"):
        rig.commands.pause(run=None, until=past, release=False, detail="", source="cli")
    with pytest.raises(Refused):
        rig.commands.submit(SPEC, 0, "cli")
    with pytest.raises(Misconfigured, match="did you mean 'model'"):
        rig.commands.submit({"name": "x", "modle": {}}, 0, "cli")
    with pytest.raises(Misconfigured, match="no such directory"):
        rig.commands.submit({"name": "x", "data": {"corpus": "/nowhere"}}, 0, "cli")
    with pytest.raises(NotFound, match="no checkpoint"):
        rig.commands.verify_checkpoints("month", "gen-1")
