"""A run whose checkpoints are gone is not trained again before a person has said so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Reason
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.checkpoint import catalog
from trainer.contract import messages as m


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.submit()
    with rig.store.transaction() as tx:
        tx.counters.add("month", {"checkpoints": 3})
    rig.crash()
    yield rig
    rig.store.close()


def run_dir(rig: Rig) -> Path:
    return rig.supervisor.paths.run("month")


def test_a_disk_that_is_not_mounted_holds_the_run_until_it_is(rig: Rig) -> None:
    [hold] = rig.settle().holds
    assert rig.engine.running is None
    assert (hold.reason, hold.effect) == (Reason.DISK, Effect.RELEASE)
    assert f"no good one is left in {run_dir(rig) / 'checkpoints'}: mount their disk" in hold.detail
    assert "homerun resume starts over at step 0" in hold.detail
    rig.keeper.missing.look()
    assert rig.settle().holds == (hold,)
    run_dir(rig).mkdir(parents=True, exist_ok=True)
    commit_plain(run_dir(rig), 7)
    rig.keeper.missing.look()
    assert rig.settle().holds == ()
    assert rig.engine.running is not None
    assert rig.kinds().count("hold_started") == 1


def test_a_person_may_let_it_start_over(rig: Rig) -> None:
    rig.settle()
    rig.commands.resume(run=None, source="cli")
    assert rig.settle().holds == ()
    assert rig.engine.running is not None
    assert "starts_over" in rig.kinds()
    rig.die("killed")
    rig.pass_time(400)
    assert rig.engine.running is not None, "asked once"


def test_the_question_outlives_the_daemon(rig: Rig) -> None:
    rig.settle()
    rig.crash()
    rig.keeper.missing.begin()
    rig.supervisor.registrar.forget()
    [hold] = rig.settle().holds
    assert hold.source == "checkpoints"
    assert rig.engine.running is None


def test_when_all_prove_damaged_at_the_start_a_person_is_asked_too(rig: Rig) -> None:
    commit_plain(run_dir(rig), 7)
    rig.settle()
    rig.find_nothing_whole()
    assert rig.engine.running is None
    [hold] = rig.settle().holds
    assert hold.source == "checkpoints"


def test_a_run_that_never_saved_starts_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "new")
    rig.submit()
    assert rig.engine.running is not None
    assert rig.settle().holds == ()
    rig.store.close()


def test_a_rollback_to_the_very_beginning_that_no_disk_took_asks_nobody(rig: Rig) -> None:
    entry = commit_plain(run_dir(rig), 7)
    rig.settle()
    rig.train(7, 9)
    catalog.undo(run_dir(rig), [entry.name])
    rig.engine.event(m.SaveFailed(0, "rollback", "no space left", kind="disk_full"))
    rig.engine.event(m.RolledBack(9, 0, "", [], [entry.name], 1, "the loss rose"))
    rig.settle()
    rig.die("killed")
    rig.pass_time(400)
    assert rig.engine.running is not None, "that nothing is left is as it should be"
    assert rig.settle().holds == ()

    rig.train(0, 4)
    rig.engine.event(m.Saved(4, "gen-4", 10, 0.1, "schedule"))
    rig.settle()
    rig.die("killed")
    rig.pass_time(400)
    [hold] = rig.settle().holds
    assert hold.source == "checkpoints", "what was saved since then is asked for"
