"""A store that cannot be written, or is taken away: training goes on, and nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain import AttemptEnd, RunState
from orchestrator.mainloop import MainLoop
from orchestrator.store import StoreFailed
from orchestrator.supervisor import FLUSH_SECONDS
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m


def failing(message: str) -> Callable[[], object]:
    """In the place of every transaction."""

    def transaction() -> object:
        raise StoreFailed(message, "look at the disk")

    return transaction


def test_a_store_that_fails_loses_nothing_and_stops_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit()
    rig.train(0, 2)
    whole = rig.store.transaction

    monkeypatch.setattr(rig.store, "transaction", failing("database or disk is full"))
    loop = MainLoop(rig.supervisor, 1.0)
    rig.engine.event(m.Saved(2, "gen-2", 10, 0.1, "stop"))
    rig.engine.event(m.Stopped(2, "stop"))
    rig.engine.exit("exit code 0")

    healed_after = rig.clock.monotonic() + 30

    def heal() -> None:
        if rig.clock.monotonic() > healed_after:
            monkeypatch.setattr(rig.store, "transaction", whole)

    rig.clock.on_sleep = heal
    rig.supervisor.drain()
    loop.run_until_drained()
    assert rig.clock.monotonic() > healed_after
    assert rig.ends() == [AttemptEnd.STOPPED]
    assert [row.name for row in rig.commands.checkpoints("month")] == ["gen-2"]


def test_a_machine_that_goes_down_does_not_wait_for_a_store_that_stays_broken(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit()
    rig.train(0, 2)

    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "transaction", failing("attempt to write a readonly database"))
        rig.engine.event(m.Stopped(2, "stop"))
        rig.engine.exit("exit code 0")
        rig.supervisor.drain()
        begin = rig.clock.monotonic()
        with pytest.raises(StoreFailed):
            MainLoop(rig.supervisor, 1.0).run_until_drained()
        assert 60.0 <= rig.clock.monotonic() - begin < 65.0
        assert rig.engine.calls[-1] == "shutdown"
    # what could not be written down is found out by the next start
    rig.crash()
    assert rig.ends() == [AttemptEnd.DAEMON_LOST]


def test_a_store_that_fails_for_long_neither_kills_the_trainer_nor_starves_the_watchdog(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit()
    rig.train(0, 2)
    whole = rig.store.transaction
    begin, fed = rig.clock.monotonic(), []

    def time_passes() -> None:
        seconds = rig.clock.monotonic() - begin
        rig.engine.event(m.Heartbeat(2, 0, 1))
        if seconds > 2 * rig.supervisor.policy.stall_after_seconds:
            monkeypatch.setattr(rig.store, "transaction", whole)
            rig.engine.event(m.Stopped(2, "stop"))
            rig.engine.exit("exit code 0")
            rig.supervisor.drain()

    rig.engine.event(m.Saved(2, "gen-2", 10, 0.1, "schedule"))
    monkeypatch.setattr(rig.store, "transaction", failing("database or disk is full"))
    rig.clock.on_sleep = time_passes
    rig.supervisor.after_tick = lambda: fed.append(rig.clock.monotonic())
    MainLoop(rig.supervisor, 1.0).run_until_drained()
    assert rig.engine.kills == []
    assert max(after - before for before, after in itertools.pairwise(fed)) <= 1.0
    assert [row.name for row in rig.commands.checkpoints("month")] == ["gen-2"]


def test_a_store_that_fails_is_told_where_a_person_looks_and_no_longer_when_it_is_well(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit()
    rig.train(0, 2)
    well = rig.settle().headline

    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "transaction", failing("the store failed: disk I/O error"))
        rig.clock.advance(FLUSH_SECONDS)
        with pytest.raises(StoreFailed):
            rig.supervisor.tick()
        shown = rig.supervisor.board.snapshot().headline
        assert shown.startswith("Nothing can be written down: the store failed: disk I/O error.")
        assert shown.endswith(well)
    assert rig.settle().headline == well


def test_a_store_whose_file_was_deleted_is_told_in_the_journal_and_training_goes_on(
    rig: Rig,
) -> None:
    rig.submit()
    rig.train(0, 2)
    Path(rig.store.place).unlink()
    rig.clock.advance(FLUSH_SECONDS)
    rig.settle()
    rig.settle()
    told = [item for item in rig.commands.journal(limit=99) if item.kind == "store_rescued"]
    assert [item.severity for item in told] == ["error"]
    assert "was deleted while homerun ran" in told[0].message
    assert rig.engine.kills == []
    assert rig.commands.run("month").state is RunState.ACTIVE
