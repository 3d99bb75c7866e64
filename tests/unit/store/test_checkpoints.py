"""Stories of the index of checkpoints."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.domain import Checkpoint
from orchestrator.errors import NotFound
from orchestrator.store import Store
from tests.unit.store.world import START, later, submit


def checkpoint(step: int, attempt: int = 1, run: str = "a") -> Checkpoint:
    name = f"gen-{step:08d}-{attempt:06d}-0123abcd"
    return Checkpoint(run, name, step, START, 8_000_000_000, attempt, "schedule")


def test_newest_is_the_highest_step_then_the_highest_attempt(store: Store) -> None:
    submit(store, "a")
    submit(store, "b")
    with store.transaction() as tx:
        for item in (checkpoint(20), checkpoint(9, 2), checkpoint(20, 3), checkpoint(7, run="b")):
            tx.checkpoints.add(item)
    with store.transaction() as tx:
        assert tx.checkpoints.of("a") == [checkpoint(20, 3), checkpoint(20), checkpoint(9, 2)]
        assert tx.checkpoints.of("b") == [checkpoint(7, run="b")]


def test_adding_again_corrects_the_entry(store: Store) -> None:
    submit(store, "a")
    corrected = dataclasses.replace(checkpoint(5), size_bytes=1, created=later(9), reason="final")
    with store.transaction() as tx:
        tx.checkpoints.add(checkpoint(5))
        tx.checkpoints.add(checkpoint(5))
    with store.transaction() as tx:
        tx.checkpoints.add(corrected)
        assert tx.checkpoints.of("a") == [corrected]


def test_removed_checkpoint_is_gone_and_removing_again_does_no_harm(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.checkpoints.add(checkpoint(5))
        tx.checkpoints.add(checkpoint(6))
        tx.checkpoints.remove("a", checkpoint(5).name)
        tx.checkpoints.remove("a", checkpoint(5).name)
        assert tx.checkpoints.of("a") == [checkpoint(6)]


def test_checkpoint_of_an_unknown_run_is_not_indexed(store: Store) -> None:
    with store.transaction() as tx, pytest.raises(NotFound):
        tx.checkpoints.add(checkpoint(1, run="nobody"))
    with store.transaction() as tx:
        assert tx.checkpoints.of("nobody") == []
