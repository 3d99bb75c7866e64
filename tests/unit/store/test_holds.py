"""Stories of the holds."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.errors import NotFound
from orchestrator.store import Store
from tests.unit.store.world import START, later, submit


def pause(until: datetime | None = None, run: str | None = None) -> Hold:
    return Hold(Reason.USER, Effect.PAUSE, "cli", START, until, "a game", run)


def test_hold_survives_a_restart_with_its_end(url: str) -> None:
    store = Store.open(url)
    submit(store, "a")
    hold = Hold(Reason.TARIFF, Effect.CAP, "plan", START, later(60), "dear", "a", 180.5)
    with store.transaction() as tx:
        added = tx.holds.add(hold)
    store.close()
    assert added == dataclasses.replace(hold, id=added.id)
    assert added.id > 0
    store = Store.open(url)
    with store.transaction() as tx:
        assert tx.holds.active(later(1)) == [added]
    store.close()


def test_hold_ends_at_its_until_to_the_microsecond(store: Store) -> None:
    with store.transaction() as tx:
        timed = tx.holds.add(pause(until=later(60)))
        endless = tx.holds.add(pause())
        assert tx.holds.active(later(59.999999)) == [timed, endless]
        assert tx.holds.expired(later(59.999999)) == []
        assert tx.holds.active(later(60)) == [endless]
        assert tx.holds.expired(later(60)) == [timed]


def test_whole_and_broken_seconds_are_in_the_right_order(store: Store) -> None:
    whole = START.replace(microsecond=0)
    with store.transaction() as tx:
        hold = tx.holds.add(pause(until=whole))
        assert tx.holds.expired(whole.replace(microsecond=500_000)) == [hold]
        assert tx.holds.active(whole.replace(microsecond=500_000)) == []


def test_a_hold_moves_with_a_clock_that_was_set_unless_it_has_ended(store: Store) -> None:
    with store.transaction() as tx:
        moved, ended = tx.holds.add(pause(until=later(10))), tx.holds.add(pause(until=later(10)))
        tx.holds.end([ended.id], later(1))
        for hold in (moved, ended):
            tx.holds.move(hold.id, later(3600))
    with store.transaction() as tx:
        assert [(hold.id, hold.until) for hold in tx.holds.unended()] == [(moved.id, later(3600))]


def test_ended_hold_holds_nothing_and_expires_no_more(store: Store) -> None:
    with store.transaction() as tx:
        first = tx.holds.add(pause(until=later(10)))
        second = tx.holds.add(pause())
        third = tx.holds.add(pause())
    with store.transaction() as tx:
        tx.holds.end({first.id, third.id, 999}, later(5))
        tx.holds.end([], later(6))
    with store.transaction() as tx:
        assert tx.holds.active(later(6)) == [second]
        assert tx.holds.expired(later(11)) == []


def test_ids_of_holds_are_never_used_twice(store: Store) -> None:
    with store.transaction() as tx:
        ids = [tx.holds.add(pause()).id for _ in range(3)]
    assert ids == sorted(set(ids))


def test_hold_on_an_unknown_run_is_not_found(store: Store) -> None:
    with store.transaction() as tx, pytest.raises(NotFound, match="nobody"):
        tx.holds.add(pause(run="nobody"))
    with store.transaction() as tx:
        assert tx.holds.active(START) == []
