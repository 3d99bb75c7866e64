"""Listing, sweeping, setting aside."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.unit.checkpoint.plain import commit_plain
from trainer.checkpoint import catalog, retention
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
    retention.retain(run_dir, retention.Policy(2, 0, 0))
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
    assert (verdict.name, verdict.unread) == (entry.name, True)
    assert verdict.problems == ("MANIFEST: cannot be read: Permission denied",)
