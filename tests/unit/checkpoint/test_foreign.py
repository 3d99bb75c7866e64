"""Checkpoints with good checksums that must not be used all the same."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import xxhash

from tests.unit.checkpoint.plain import commit_plain
from trainer.checkpoint import catalog, retention
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.disk import FaultyDisk
from trainer.checkpoint.format import MANIFEST, OtherFormatError
from trainer.checkpoint.retention import Policy


def record(run_dir: Path, name: str = "toy", digest: str = "cafe") -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"spec": {"name": name}, "spec_digest": digest})
    (run_dir / "run.json").write_text(text)


def rewrite_as_format(entry: Entry, number: int, inside: int | None) -> None:
    """Its MANIFEST as a later homerun might write it, with a checksum that is right."""
    path = entry.path / MANIFEST
    plain = json.loads(path.read_bytes().partition(b"\n")[2])
    if inside is not None:
        plain["format"] = inside
    body = json.dumps(plain).encode()
    checksum = xxhash.xxh3_128_hexdigest(body)
    path.write_bytes(f"homerun-checkpoint {number} {len(body)} {checksum}\n".encode() + body)


@pytest.mark.parametrize(
    ("name", "digest", "problem"),
    [
        ("other", "cafe", "MANIFEST: belongs to run 'other'"),
        ("toy", "beef", "MANIFEST: belongs to another run 'toy', with another spec"),
    ],
)
def test_a_checkpoint_copied_by_hand_from_another_run_is_named_and_not_used(
    tmp_path: Path, name: str, digest: str, problem: str
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    record(mine)
    record(theirs, name, digest)
    commit_plain(mine, 1)
    alien = commit_plain(theirs, 9, run=name, digest=digest)
    assert catalog.verify(alien.path).ok, "where it belongs it is whole"
    shutil.copytree(alien.path, mine / "checkpoints" / alien.name)
    assert [entry.step for entry in catalog.list_checkpoints(mine)] == [1]
    [verdict] = catalog.damaged(mine)
    assert (verdict.name, verdict.problems, verdict.unread) == (alien.name, (problem,), False)
    assert catalog.verify(mine / "checkpoints" / alien.name) == verdict


def test_without_a_record_nobody_can_tell_and_what_is_whole_counts(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    commit_plain(run_dir, 1)
    for broken in ("", "{}", "[]", '{"spec": 3, "spec_digest": "x"}', '{"spec": {"name": 3}}'):
        (run_dir / "run.json").write_text(broken)
        assert len(catalog.list_checkpoints(run_dir)) == 1


def test_a_checkpoint_of_a_newer_homerun_is_left_alone_and_says_what_to_do(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    commit_plain(run_dir, 1)
    newer = commit_plain(run_dir, 2)
    rewrite_as_format(newer, 2, inside=2)
    assert [entry.step for entry in catalog.list_checkpoints(run_dir)] == [1]
    [verdict] = catalog.damaged(run_dir)
    assert verdict.unread
    assert "of format 2, which another version of homerun wrote" in verdict.problems[0]
    with pytest.raises(OtherFormatError, match="install that version again"):
        catalog.examine(newer.path)


@pytest.mark.parametrize("inside", [None, 1, 3])
def test_a_flipped_bit_in_the_first_line_is_damage_and_no_other_format(
    tmp_path: Path, inside: int | None
) -> None:
    run_dir = tmp_path / "run"
    entry = commit_plain(run_dir, 1)
    rewrite_as_format(entry, 5, inside)
    [verdict] = catalog.damaged(run_dir)
    assert not verdict.unread
    assert verdict.problems == ("MANIFEST: does not begin as a manifest does",)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_a_reader_without_permission_or_handles_finds_no_damage(tmp_path: Path, code: int) -> None:
    entry = commit_plain(tmp_path / "run", 1)
    disk = FaultyDisk(lambda op: code if op.kind == "open" and op.path.name == "model.bin" else 0)
    verdict = catalog.verify(entry.path, disk=disk)
    assert (verdict.ok, verdict.unread) == (False, True)
    assert verdict.problems[0].startswith("model.bin: cannot be read: ")


def test_what_cannot_be_read_now_costs_nothing_in_retention(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for step in range(1, 5):
        commit_plain(run_dir, step)
    disk = FaultyDisk(lambda op: errno.EMFILE if op.kind == "open" else 0)
    policy = Policy(newest=2, history=0, best=0)
    assert retention.retain(run_dir, policy, thorough=True, disk=disk) == []
    assert len(catalog.generations(run_dir)) == 4
