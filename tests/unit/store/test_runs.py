"""Stories of the runs and their queue."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.exc import StatementError

from orchestrator.domain import RunState
from orchestrator.errors import Invalid, NotFound, Refused
from orchestrator.store import Store
from tests.unit.store.world import START, later, submit
from trainer.contract.spec import ModelSpec, RunSpec, from_dict


def test_submitted_run_waits_with_its_spec_pinned(store: Store) -> None:
    spec = RunSpec(name="first", seed=(1 << 63) - 1, model=ModelSpec(depth=4))
    with store.transaction() as tx:
        added = tx.runs.add(spec, 3, START)
    with store.transaction() as tx:
        found = tx.runs.get("first")
    assert found == added
    assert found is not None
    assert (found.state, found.priority, found.created) == (RunState.QUEUED, 3, START)
    assert from_dict(found.spec) == spec
    assert found.spec_digest == spec.digest()
    assert found.finished is None
    assert found.bits_per_byte is None


def test_unknown_run_is_none(store: Store) -> None:
    with store.transaction() as tx:
        assert tx.runs.get("nobody") is None
        assert tx.runs.active() is None
        assert tx.runs.next_queued() is None
        assert tx.runs.all() == []


def test_taken_name_is_refused_with_a_way_out(store: Store) -> None:
    submit(store, "mine")
    with store.transaction() as tx:
        tx.runs.set_state("mine", RunState.CANCELLED, later(5))
    with pytest.raises(Refused, match="'mine' already \\(cancelled\\)") as refusal:
        submit(store, "mine")
    assert "another name" in refusal.value.fix
    with store.transaction() as tx:
        assert len(tx.runs.all()) == 1


def test_priority_goes_first_then_age_even_when_the_clock_went_back(store: Store) -> None:
    submit(store, "old-low", priority=-1)
    submit(store, "first", priority=5, at=later(100))
    submit(store, "second", priority=5, at=later(-100))
    submit(store, "plain")
    with store.transaction() as tx:
        head = tx.runs.next_queued()
        assert head is not None
        assert head.name == "first"
        assert [run.name for run in tx.runs.all()] == ["first", "second", "plain", "old-low"]


def test_list_is_active_then_queue_then_ended_newest_first(store: Store) -> None:
    for name in ("ended-early", "ended-late", "waiting", "running"):
        submit(store, name)
    with store.transaction() as tx:
        tx.runs.set_state("ended-late", RunState.CANCELLED, later(20))
        tx.runs.set_state("ended-early", RunState.FINISHED, later(10))
        tx.runs.set_state("running", RunState.ACTIVE, later(30))
    with store.transaction() as tx:
        names = [run.name for run in tx.runs.all()]
        active = tx.runs.active()
    assert names == ["running", "waiting", "ended-late", "ended-early"]
    assert active is not None
    assert active.name == "running"


def test_only_one_run_is_active(store: Store) -> None:
    submit(store, "a")
    submit(store, "b")
    with store.transaction() as tx:
        tx.runs.set_state("a", RunState.ACTIVE, START)
        tx.runs.set_state("a", RunState.ACTIVE, START)
        with pytest.raises(Refused, match="while a is"):
            tx.runs.set_state("b", RunState.ACTIVE, START)
        tx.runs.set_state("a", RunState.FINISHED, START)
        tx.runs.set_state("b", RunState.ACTIVE, START)
        active = tx.runs.active()
    assert active is not None
    assert active.name == "b"


def test_end_of_a_run_is_timed_once_and_forgotten_when_queued_again(store: Store) -> None:
    submit(store, "a")

    def end_time() -> object:
        with store.transaction() as tx:
            run = tx.runs.get("a")
        assert run is not None
        return run.finished

    with store.transaction() as tx:
        tx.runs.set_state("a", RunState.FINISHED, later(7))
        tx.runs.set_state("a", RunState.FINISHED, later(8))
    assert end_time() == later(7)
    with store.transaction() as tx:
        tx.runs.set_state("a", RunState.QUEUED, later(9))
    assert end_time() is None


def test_what_is_learnt_about_a_run_is_kept(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.runs.update("a", steps=10**12, parameters=1_880_000_000)
        tx.runs.update("a", bits_per_byte=1.25, sample="def \0\ud800x", model_path="/m")
    with store.transaction() as tx:
        run = tx.runs.get("a")
    assert run is not None
    assert (run.steps, run.parameters, run.bits_per_byte) == (10**12, 1_880_000_000, 1.25)
    assert run.bits_per_byte_before is None
    assert run.model_path == "/m"
    # what no database takes is replaced, visibly, and the rest of the sample survives
    assert run.sample == "def \ufffd\ufffdx"


def test_unknown_fact_is_a_mistake(store: Store) -> None:
    submit(store, "a")
    facts: dict[str, Any] = {"spec_digest": "another"}
    with store.transaction() as tx, pytest.raises(TypeError, match="no fact spec_digest"):
        tx.runs.update("a", **facts)
    with store.transaction() as tx:
        run = tx.runs.get("a")
    assert run is not None
    assert run.spec_digest == RunSpec(name="a").digest()


def test_misspelt_run_is_not_found_but_the_nearest_is_named(store: Store) -> None:
    submit(store, "winter-nights")
    with store.transaction() as tx:
        with pytest.raises(NotFound, match="did you mean 'winter-nights'"):
            tx.runs.set_state("winter-night", RunState.ACTIVE, START)
        with pytest.raises(NotFound, match="homerun runs"):
            tx.runs.update("zzz", steps=1)


@pytest.mark.parametrize("priority", [10**6 + 1, -(10**30)])
def test_absurd_priority_is_invalid(store: Store, priority: int) -> None:
    with pytest.raises(Invalid, match="out of range"):
        submit(store, "a", priority=priority)
    with store.transaction() as tx:
        assert tx.runs.all() == []


def test_times_come_back_in_utc_to_the_microsecond(store: Store) -> None:
    berlin = timezone(timedelta(hours=1))
    run = submit(store, "a", at=START.astimezone(berlin))
    assert run.created == START
    assert run.created.utcoffset() == timedelta(0)
    assert run.created.microsecond == 123456


def test_naive_time_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="naive time"):
        submit(store, "a", at=START.replace(tzinfo=None))
    with store.transaction() as tx:
        assert tx.runs.all() == []
