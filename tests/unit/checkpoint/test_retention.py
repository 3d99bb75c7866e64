"""Retention: what may go and what must stay."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoint.plain import commit_plain
from tests.unit.checkpoint.test_catalog import flip, save_many, steps
from trainer.checkpoint import catalog
from trainer.checkpoint.disk import FaultyDisk
from trainer.checkpoint.retention import (
    LEAST_KEPT,
    Candidate,
    Policy,
    choose,
    pin,
    plan_retention,
    read_back,
    retain,
    unpin,
)


def row(*numbers: int, size: int = 10) -> list[Candidate]:
    """Candidates of these steps, newest first."""
    return [Candidate(f"c{step}", step, size) for step in sorted(numbers, reverse=True)]


def kept(candidates: list[Candidate], policy: Policy) -> list[int]:
    return [choice.step for choice in choose(candidates, policy) if choice.keep]


def test_the_newest_and_a_history_that_thins_out_with_age() -> None:
    found = choose(row(*range(1, 101)), Policy(newest=3, history=5, best=0))
    assert [choice.step for choice in found if choice.keep] == [100, 99, 98, 97, 93, 85, 69]
    whys = {choice.step: choice.why for choice in found}
    assert whys[98] == "one of the 3 newest"
    assert whys[69] == "history, 31 steps back"
    assert whys[50] == "no reason to keep it"


def test_thinning_at_every_save_keeps_a_history_all_the_time() -> None:
    """A thousand saves with a sweep after each: every span of ages stays within reach."""
    policy = Policy(newest=3, history=8, best=0)
    alive: list[int] = []
    for step in range(1, 1001):
        alive = kept(row(*alive, step), policy)
        assert len(alive) <= 3 + 8
        ages = sorted(step - one for one in alive)
        for span in range(6):
            if step > 2 ** (span + 2):
                assert any(2**span <= age < 2 ** (span + 2) for age in ages), (step, ages)


def test_the_best_by_validation_stays_and_an_equal_later_one_is_better() -> None:
    candidates = row(1, 2, 3, 4, 5, 6, 7, 8)
    scored = [
        Candidate(one.name, one.step, 10, bits_per_byte={2: 1.5, 3: 1.2, 4: 1.2}.get(one.step))
        for one in candidates
    ]
    assert kept(scored, Policy(2, 0, 1)) == [8, 7, 4]
    assert kept(scored, Policy(2, 0, 2)) == [8, 7, 4, 3]


def test_in_the_middle_of_trouble_the_last_good_one_stays() -> None:
    candidates = [
        Candidate(one.name, one.step, 10, good=one.step < 4) for one in row(1, 2, 3, 4, 5, 6, 7)
    ]
    found = choose(candidates, Policy(2, 0, 0))
    assert [(choice.step, choice.why) for choice in found if choice.keep][-1] == (
        3,
        "the last good one",
    )


def test_a_budget_takes_the_oldest_history_first_and_never_the_last_two() -> None:
    candidates = row(*range(1, 101))
    full = kept(candidates, Policy(3, 5, 0))
    assert kept(candidates, Policy(3, 5, 0, budget_bytes=50)) == full[:5]
    assert kept(candidates, Policy(3, 5, 0, budget_bytes=1)) == full[:LEAST_KEPT]
    over = choose(candidates, Policy(3, 5, 0, budget_bytes=50))
    assert {choice.why for choice in over if choice.step in full[5:]} == {"over the budget"}
    pinned = [Candidate(one.name, one.step, 10, pinned=one.step == 5) for one in candidates]
    assert kept(pinned, Policy(3, 5, 0, budget_bytes=1)) == [100, 99, 5]


@given(
    st.sets(st.integers(0, 5000), max_size=40),
    st.integers(-1, 6),
    st.integers(0, 8),
    st.integers(0, 3),
    st.integers(0, 300),
    st.data(),
)
def test_whatever_the_policy_two_the_pinned_and_the_last_good_stay(
    numbers: set[int], newest: int, history: int, best: int, budget: int, data: st.DataObject
) -> None:
    candidates = [
        Candidate(
            one.name,
            one.step,
            data.draw(st.integers(1, 50)),
            pinned=data.draw(st.booleans()),
            good=data.draw(st.booleans()),
            bits_per_byte=data.draw(st.none() | st.floats(0, 9)),
        )
        for one in row(*numbers)
    ]
    found = choose(candidates, Policy(newest, history, best, budget))
    stays = {choice.name for choice in found if choice.keep}
    assert [choice.name for choice in found] == [one.name for one in candidates]
    assert {one.name for one in candidates[:LEAST_KEPT]} <= stays
    assert {one.name for one in candidates if one.pinned} <= stays
    assert {one.name for one in candidates if one.good and one.name} & stays or not any(
        one.good for one in candidates
    )
    assert next((one.name for one in candidates if one.good), "") in {*stays, ""}
    again = choose([one for one in candidates if one.name in stays], Policy(newest, history, best))
    assert all(choice.keep for choice in again[:LEAST_KEPT])


def test_the_plan_says_what_would_go_and_touches_nothing(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    plan = plan_retention(run_dir, Policy(2, 0, 1), {entries[1].step: 0.9})
    assert [(choice.step, choice.keep) for choice in plan] == [
        (6, True),
        (5, True),
        (4, False),
        (3, False),
        (2, True),
        (1, False),
    ]
    assert plan[4].why == "best by validation"
    assert len(steps(run_dir)) == 6


def test_the_checkpoint_after_a_validation_tells_how_good_the_one_before_was(
    run_dir: Path,
) -> None:
    from tests.unit.checkpoint.rig import save_step
    from trainer.checkpoint.lease import Lease

    run_dir.mkdir()
    with Lease.take(run_dir, 1) as lease:
        for step in range(1, 7):
            score = 0.5 if step == 3 else 1.0
            meta = {"evaluated_step": step - 1, "bits_per_byte": score}
            save_step(run_dir, step, lease, meta=meta)
    retain(run_dir, Policy(2, 0, 1))
    assert steps(run_dir) == [6, 5, 2]


def test_what_was_read_back_is_not_read_again(run_dir: Path) -> None:
    entry = commit_plain(run_dir, 1)
    reads: list[str] = []

    def count(operation: object) -> int:
        reads.append(getattr(operation, "kind", ""))
        return 0

    assert read_back(entry, disk=FaultyDisk(count))
    assert "read" in reads
    reads.clear()
    assert read_back(entry, disk=FaultyDisk(count))
    assert "read" not in reads
    assert catalog.verify(entry.path).problems == ()


def test_retention_keeps_the_newest_and_names_what_went(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    gone = retain(run_dir, Policy(3, 0, 0))
    assert gone == [entry.name for entry in entries[2::-1]]
    assert steps(run_dir) == [6, 5, 4]
    assert len(list((run_dir / "checkpoints").iterdir())) == 3


@pytest.mark.parametrize("keep", [-1, 0, 1, 2])
def test_retention_never_goes_below_two(run_dir: Path, keep: int) -> None:
    save_many(run_dir, 4)
    retain(run_dir, Policy(keep, 0, 0))
    assert steps(run_dir) == [4, 3]


def test_retention_spares_what_is_pinned(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    for entry in (entries[0], entries[3]):
        pin(entry.path)
        pin(entry.path)
    retain(run_dir, Policy(2, 0, 0))
    assert steps(run_dir) == [6, 5, 4, 1]
    assert catalog.verify(entries[0].path).problems == ()
    unpin(entries[0].path)
    unpin(entries[0].path)
    retain(run_dir, Policy(2, 0, 0))
    assert steps(run_dir) == [6, 5, 4]


def test_damaged_ones_do_not_count_and_are_not_touched(run_dir: Path) -> None:
    entries = save_many(run_dir, 5)
    os.truncate(entries[4].path / "model.bin", 5)
    (entries[3].path / "MANIFEST").unlink()
    retain(run_dir, Policy(2, 0, 0))
    assert steps(run_dir) == [3, 2]
    assert entries[4].path.exists()
    assert entries[3].path.exists()


def test_thorough_retention_counts_only_what_it_has_read(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    flip(entries[5])
    flip(entries[3])
    retain(run_dir, Policy(2, 0, 0), thorough=True)
    assert steps(run_dir) == [6, 5, 4, 3]
    assert [catalog.verify(entries[at].path).ok for at in (4, 2)] == [True, True]


def test_retention_of_nothing_does_nothing(run_dir: Path) -> None:
    assert retain(run_dir, Policy(3, 0, 0)) == []


def test_a_deletion_that_fails_halfway_leaves_no_half_checkpoint_in_the_list(
    run_dir: Path,
) -> None:
    save_many(run_dir, 4)
    disk = FaultyDisk(lambda operation: errno.EIO if operation.kind == "rmdir" else 0)
    with pytest.raises(OSError, match="Input/output error"):
        retain(run_dir, Policy(2, 0, 0), disk=disk)
    assert steps(run_dir) == [4, 3, 1]
    assert catalog.damaged(run_dir) == []
    [gone] = catalog.sweep(run_dir)
    assert gone.startswith("trash-00000002-")
