"""Listing, retention, sweeping: what may go and what must stay."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.unit.checkpoint.plain import commit_plain
from trainer.checkpoint import catalog
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.disk import FaultyDisk


def steps(run_dir: Path) -> list[int]:
    return [entry.step for entry in catalog.list_checkpoints(run_dir)]


def save_many(run_dir: Path, count: int) -> list[Entry]:
    """Checkpoints of steps 1 to ``count``, oldest first."""
    return [commit_plain(run_dir, step) for step in range(1, count + 1)]


def flip(entry: Entry) -> None:
    path = entry.path / "model.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")


def test_the_list_is_newest_first_by_number_not_by_text(run_dir: Path) -> None:
    for step, attempt in ((9, 1), (10, 2), (10, 1), (123_456_789, 1), (99_999_999, 3)):
        commit_plain(run_dir, step, attempt=attempt)
    listed = [(entry.step, entry.attempt) for entry in catalog.list_checkpoints(run_dir)]
    assert listed == [(123_456_789, 1), (99_999_999, 3), (10, 2), (10, 1), (9, 1)]


def test_retention_keeps_the_newest_and_names_what_went(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    gone = catalog.retain(run_dir, 3, [])
    assert gone == [entry.name for entry in entries[2::-1]]
    assert steps(run_dir) == [6, 5, 4]
    assert len(list((run_dir / "checkpoints").iterdir())) == 3


@pytest.mark.parametrize("keep", [-1, 0, 1, 2])
def test_retention_never_goes_below_two(run_dir: Path, keep: int) -> None:
    save_many(run_dir, 4)
    catalog.retain(run_dir, keep, [])
    assert steps(run_dir) == [4, 3]


def test_retention_spares_what_is_protected(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    catalog.retain(run_dir, 2, {entries[0].name, entries[3].name, "gen-unknown"})
    assert steps(run_dir) == [6, 5, 4, 1]


def test_damaged_ones_do_not_count_and_are_not_touched(run_dir: Path) -> None:
    entries = save_many(run_dir, 5)
    os.truncate(entries[4].path / "model.bin", 5)
    (entries[3].path / "MANIFEST").unlink()
    catalog.retain(run_dir, 2, [])
    assert steps(run_dir) == [3, 2]
    assert entries[4].path.exists()
    assert entries[3].path.exists()


def test_thorough_retention_counts_only_what_it_has_read(run_dir: Path) -> None:
    entries = save_many(run_dir, 6)
    flip(entries[5])
    flip(entries[3])
    catalog.retain(run_dir, 2, [], thorough=True)
    assert steps(run_dir) == [6, 5, 4, 3]
    assert [catalog.verify(entries[at].path).ok for at in (4, 2)] == [True, True]


def test_retention_of_nothing_does_nothing(run_dir: Path) -> None:
    assert catalog.retain(run_dir, 3, []) == []


def test_a_deletion_that_fails_halfway_leaves_no_half_checkpoint_in_the_list(
    run_dir: Path,
) -> None:
    save_many(run_dir, 4)
    disk = FaultyDisk(lambda operation: errno.EIO if operation.kind == "rmdir" else 0)
    with pytest.raises(OSError, match="Input/output error"):
        catalog.retain(run_dir, 2, [], disk=disk)
    assert steps(run_dir) == [4, 3, 1]
    assert catalog.damaged(run_dir) == []
    [gone] = catalog.sweep(run_dir)
    assert gone.startswith("trash-00000002-")


def test_only_a_checkpoint_can_be_discarded(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    with pytest.raises(ValueError, match="no checkpoint"):
        catalog.discard(tmp_path / "precious")
    assert (tmp_path / "precious").exists()


def test_the_sweep_takes_leftovers_of_dead_attempts_only(run_dir: Path) -> None:
    save_many(run_dir, 2)
    home = run_dir / "checkpoints"
    names = {
        "dead": "tmp-00000003-000001-00000001",
        "alive": "tmp-00000003-000002-00000002",
        "trash": "trash-00000003-000002-00000003",
        "damaged": "damaged-00000003-000001-00000004",
        "foreign": "tmp-of-somebody",
    }
    for name in names.values():
        (home / name / "inner").mkdir(parents=True)
        (home / name / "inner" / "file").write_text("x")
    catalog.raise_fence(run_dir, 2)
    assert sorted(catalog.sweep(run_dir)) == sorted([names["dead"], names["trash"]])
    left = {path.name for path in home.iterdir()}
    assert {names["alive"], names["damaged"], names["foreign"]} <= left
    assert steps(run_dir) == [2, 1]


def test_deleting_does_not_follow_links_out_of_the_directory(run_dir: Path) -> None:
    entries = save_many(run_dir, 3)
    outside = run_dir / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (entries[0].path / "link").symlink_to(outside)
    catalog.retain(run_dir, 2, [])
    assert not entries[0].path.exists()
    assert (outside / "file").read_text() == "mine"


def test_a_strangely_named_directory_can_be_set_aside(run_dir: Path) -> None:
    stray = run_dir / "checkpoints" / "stray"
    stray.mkdir(parents=True)
    aside = catalog.quarantine(stray, "nobody knows it")
    assert aside.name == "damaged-stray"
    assert (aside / "WHY.txt").read_text() == "nobody knows it\n"


def test_verifying_what_is_not_there_is_a_verdict_and_no_crash(tmp_path: Path) -> None:
    verdict = catalog.verify(tmp_path / "gen-00000007-000001-0badcafe")
    assert (verdict.step, verdict.ok) == (7, False)
    assert catalog.verify(tmp_path / "nothing").step == -1


def test_what_cannot_be_read_for_lack_of_permission_is_reported(run_dir: Path) -> None:
    entry = commit_plain(run_dir, 1)
    disk = FaultyDisk(lambda operation: errno.EACCES if operation.kind == "open" else 0)
    assert catalog.list_checkpoints(run_dir, disk=disk) == []
    [verdict] = catalog.damaged(run_dir, disk=disk)
    assert (verdict.name, verdict.problems) == (entry.name, ("cannot be read: Permission denied",))
