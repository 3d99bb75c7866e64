"""The roster: what of the store must outlive it."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest

from orchestrator import roster as rosters
from orchestrator.piloting.goals import GoalKind, RunGoal
from tests.unit.store.home import Home, flip, lose
from tests.unit.store.world import later, submit


def test_the_roster_is_written_only_when_something_changed(home: Home) -> None:
    store, keeper = home.open()
    keeper.keep(later(20))
    written = home.paths.roster.stat().st_mtime_ns
    keeper.keep(later(21))
    assert home.paths.roster.stat().st_mtime_ns == written
    submit(store, "third")
    keeper.keep(later(22))
    known = rosters.read(home.paths.roster)
    assert known is not None
    assert {run.name for run in known.runs} == {"old", "new", "third"}
    store.close()


def test_a_roster_with_a_flipped_bit_is_not_used(home: Home) -> None:
    flip(home.paths.roster, 200)
    assert rosters.read(home.paths.roster) is None
    store, _ = home.open()
    assert home.told == ""
    store.close()


def test_a_roster_that_cannot_be_written_harms_nobody(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    store, keeper = home.open()
    home.paths.roster.unlink()
    home.paths.roster.mkdir()
    submit(store, "third")
    keeper.keep(later(22))
    assert "could not be written" in caplog.text
    store.close()


def test_the_goal_of_a_run_outlives_the_store(home: Home) -> None:
    """The deadline was given after the backup; a run that is over needs none."""
    store, keeper = home.open()
    wish = RunGoal("new", GoalKind.BUDGET, later(11), money=Decimal("12.30"), tokens_left=5_000)
    until = RunGoal("late", GoalKind.DEADLINE, later(11), deadline=later(90))
    submit(store, "late")
    with store.transaction() as tx:
        tx.goals.put(wish)
        tx.goals.put(until)
    keeper.keep(later(12))
    home.close(store, keeper)
    lose(home)
    store, _ = home.open()
    with store.transaction() as tx:
        assert (tx.goals.of("new"), tx.goals.of("late")) == (wish, until)
    store.close()


def test_a_roster_of_an_older_homerun_knows_no_goals_and_serves(home: Home) -> None:
    known = rosters.read(home.paths.roster)
    assert known is not None
    rosters.write(home.paths.roster, known)
    body = home.paths.roster.read_text().partition("\n")[2]
    plain = json.loads(body)
    del plain["goals"]
    text = json.dumps(plain)
    home.paths.roster.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    assert rosters.read(home.paths.roster) == known
