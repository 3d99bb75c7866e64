"""Stories of the attempts."""

from __future__ import annotations

import pytest

from orchestrator.domain import AttemptEnd
from orchestrator.errors import NotFound, Refused
from orchestrator.store import Store
from tests.unit.store.world import START, later, submit


def test_attempts_are_numbered_per_run_from_one(store: Store) -> None:
    submit(store, "a")
    submit(store, "b")
    with store.transaction() as tx:
        assert tx.attempts.begin("a", START).number == 1
        tx.attempts.end("a", 1, AttemptEnd.CRASHED, "exit code 1", later(1), 4)
        assert tx.attempts.begin("a", later(2)).number == 2
        assert tx.attempts.begin("b", later(2)).number == 1


def test_attempt_tells_its_life(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.attempts.begin("a", START)
        tx.attempts.reached("a", 1, 10, 10)
        tx.attempts.reached("a", 1, None, 17)
    with store.transaction() as tx:
        tx.attempts.end("a", 1, AttemptEnd.STALLED, "no progress for 600 s", later(60), None)
    with store.transaction() as tx:
        (attempt,) = tx.attempts.of("a")
    assert (attempt.started, attempt.ended) == (START, later(60))
    assert (attempt.first_step, attempt.last_step) == (10, 17)
    assert attempt.end is AttemptEnd.STALLED
    assert attempt.cause == "no progress for 600 s"


def test_first_end_stands_and_its_echoes_change_nothing(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.attempts.begin("a", START)
        tx.attempts.end("a", 1, AttemptEnd.CRASHED, "killed by SIGKILL", later(5), 3)
        tx.attempts.end("a", 1, AttemptEnd.ENGINE_LOST, "engine gone", later(6), 9)
        (attempt,) = tx.attempts.of("a")
    assert (attempt.end, attempt.cause) == (AttemptEnd.CRASHED, "killed by SIGKILL")
    assert (attempt.ended, attempt.last_step) == (later(5), 3)


def test_attempts_left_open_by_a_dead_daemon_are_found(url: str) -> None:
    store = Store.open(url)
    submit(store, "a")
    with store.transaction() as tx:
        tx.attempts.begin("a", START)
        tx.attempts.end("a", 1, AttemptEnd.STOPPED, "", later(1), 1)
        tx.attempts.begin("a", later(2))
    store.close()
    store = Store.open(url)
    with store.transaction() as tx:
        left = tx.attempts.open()
    assert [(attempt.run, attempt.number) for attempt in left] == [("a", 2)]
    store.close()


def test_second_attempt_beside_a_living_one_is_refused(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.attempts.begin("a", START)
    with store.transaction() as tx, pytest.raises(Refused, match="attempt 1 at a has not ended"):
        tx.attempts.begin("a", later(1))
    with store.transaction() as tx:
        assert len(tx.attempts.of("a")) == 1


def test_restored_store_goes_on_above_the_fence_on_disk(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        assert tx.attempts.begin("a", START, at_least=41).number == 41
        tx.attempts.end("a", 41, AttemptEnd.FINISHED, "", later(1), 1)
        assert tx.attempts.begin("a", later(2), at_least=7).number == 42
        assert [attempt.number for attempt in tx.attempts.of("a")] == [41, 42]


def test_unknown_run_or_attempt_is_not_found(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        with pytest.raises(NotFound, match="no run named 'nobody'"):
            tx.attempts.begin("nobody", START)
        with pytest.raises(NotFound, match="no attempt 1"):
            tx.attempts.end("a", 1, AttemptEnd.CRASHED, "", START, None)
        with pytest.raises(NotFound, match="no attempt 9"):
            tx.attempts.reached("a", 9, 1, 2)
        assert tx.attempts.of("nobody") == []
