"""The schedule of merges: which step, how many, never a matter of what happened before."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from trainer.precision.merges import FIRST_STEP, Merges, first_interval_steps


def test_intervals_grow_by_a_fifth_from_the_first_on() -> None:
    steps = list(islice(Merges(100).steps(), 6))
    assert steps[0] == FIRST_STEP
    assert [later - earlier for earlier, later in pairwise(steps)] == [100, 120, 144, 173, 207]


def test_a_merge_is_a_pure_function_of_the_step() -> None:
    schedule = Merges(7)
    merges = [step for step in range(200) if schedule.at(step)]
    assert merges == list(islice(schedule.steps(), len(merges)))
    for step in range(200):
        before = [merge for merge in merges if merge < step]
        assert schedule.until(step) == len(before)
        assert schedule.last_before(step) == (before[-1] if before else None)


def test_the_shortest_interval_merges_after_every_step_at_first() -> None:
    assert list(islice(Merges(1).steps(), 4)) == [2, 3, 4, 5]


def test_no_interval_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        Merges(0)


@pytest.mark.parametrize(
    ("horizon_steps", "interval_steps"), [(1, 1), (60, 3), (400, 20), (2_000, 100), (71_680, 100)]
)
def test_short_runs_merge_sooner(horizon_steps: int, interval_steps: int) -> None:
    assert first_interval_steps(horizon_steps) == interval_steps
