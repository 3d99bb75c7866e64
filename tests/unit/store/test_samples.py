"""Stories of the learning curves."""

from __future__ import annotations

import dataclasses
import itertools
import math
from datetime import timedelta

import pytest

from orchestrator.domain import Sample
from orchestrator.errors import NotFound
from orchestrator.store import Store
from tests.unit.store.world import later, submit


def sample(step: int, loss: float = 2.0) -> Sample:
    return Sample(step, later(step), loss, 1000.5)


def test_curve_comes_back_oldest_first(store: Store) -> None:
    submit(store, "a")
    submit(store, "b")
    full = dataclasses.replace(sample(2), bits_per_byte=1.1, watts=200.0)
    with store.transaction() as tx:
        tx.samples.add("a", [sample(3), sample(1), full])
        tx.samples.add("b", [sample(9)])
        tx.samples.add("a", [])
    with store.transaction() as tx:
        curve = tx.samples.of("a", 100)
    assert curve == [sample(1), full, sample(3)]
    assert curve[0].time.utcoffset() == timedelta(0)


def test_repeated_step_replaces_the_point_of_the_lost_attempt(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.samples.add("a", [sample(1), sample(2, loss=9.0), sample(2, loss=8.0)])
        assert tx.samples.of("a", 10) == [sample(1), sample(2, loss=8.0)]
    with store.transaction() as tx:
        tx.samples.add("a", [sample(2, loss=7.0)])
        assert tx.samples.of("a", 10) == [sample(1), sample(2, loss=7.0)]


def test_diverged_run_still_has_a_curve(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.samples.add("a", [sample(1, math.nan), sample(2, math.inf)])
    with store.transaction() as tx:
        first, second = tx.samples.of("a", 10)
    assert math.isnan(first.loss)
    assert second.loss == math.inf


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 1001])
def test_long_curve_is_thinned_evenly_and_keeps_both_ends(store: Store, count: int) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        tx.samples.add("a", [sample(10 * i) for i in range(count)])
        for limit in (2, 3, 64, 1000, 5000):
            steps = [point.step for point in tx.samples.of("a", limit)]
            assert len(steps) == min(limit, count)
            assert (steps[0], steps[-1]) == (0, 10 * (count - 1))
            gaps = {after - before for before, after in itertools.pairwise(steps)}
            assert not gaps or max(gaps) - min(gaps) <= 10


def test_smallest_limits(store: Store) -> None:
    submit(store, "a")
    with store.transaction() as tx:
        assert tx.samples.of("a", 5) == []
        tx.samples.add("a", [sample(1), sample(2), sample(3)])
        assert tx.samples.of("a", 1) == [sample(3)]
        assert tx.samples.of("a", 0) == []
        assert tx.samples.of("a", -4) == []


def test_thinning_deletes_in_one_run_only(store: Store) -> None:
    submit(store, "a")
    submit(store, "b")
    with store.transaction() as tx:
        tx.samples.add("a", [sample(i) for i in range(1, 102)])
        tx.samples.add("b", [sample(i) for i in range(1, 102)])
        tx.samples.thin("a", 200)
        assert len(tx.samples.of("a", 1000)) == 101
        tx.samples.thin("a", 5)
    with store.transaction() as tx:
        assert [point.step for point in tx.samples.of("a", 1000)] == [1, 26, 51, 76, 101]
        assert len(tx.samples.of("b", 1000)) == 101


def test_curve_of_an_unknown_run_is_not_taken(store: Store) -> None:
    with store.transaction() as tx:
        with pytest.raises(NotFound):
            tx.samples.add("nobody", [sample(1)])
        assert tx.samples.of("nobody", 10) == []
