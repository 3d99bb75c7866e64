"""Each kind of damage is named by verify, and load_newest goes on with the next good one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.checkpoint.rig import same, save_step, state
from trainer.checkpoint import catalog
from trainer.checkpoint.catalog import Entry, Verdict
from trainer.checkpoint.disk import FaultyDisk, Operation
from trainer.checkpoint.lease import Lease
from trainer.checkpoint.reader import DamagedError, load, load_newest


def truncate(entry: Entry) -> None:
    path = entry.path / "model.safetensors"
    os.truncate(path, path.stat().st_size - 1)


def truncate_to_nothing(entry: Entry) -> None:
    os.truncate(entry.path / "model.safetensors", 0)


def lengthen(entry: Entry) -> None:
    with (entry.path / "model.safetensors").open("ab") as file:
        file.write(b"x")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def flip_last_bit(entry: Entry) -> None:
    flip(entry.path / "model.safetensors", -1)


def flip_header_length(entry: Entry) -> None:
    flip(entry.path / "model.safetensors", 3)


def flip_header(entry: Entry) -> None:
    flip(entry.path / "model.safetensors", 20)


def zero(entry: Entry) -> None:
    path = entry.path / "model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))


def lose(entry: Entry) -> None:
    (entry.path / "model.safetensors").unlink()


def swap(entry: Entry) -> None:
    one, two = entry.path / "model.safetensors", entry.path / "optimizer.safetensors"
    one.rename(entry.path / "aside")
    two.rename(one)
    (entry.path / "aside").rename(two)


def replace_by_directory(entry: Entry) -> None:
    lose(entry)
    (entry.path / "model.safetensors").mkdir()


def replace_by_pipe(entry: Entry) -> None:
    lose(entry)
    os.mkfifo(entry.path / "model.safetensors")


def replace_by_link(entry: Entry) -> None:
    (entry.path / "model.safetensors").rename(entry.path.parent / "elsewhere")
    (entry.path / "model.safetensors").symlink_to(entry.path.parent / "elsewhere")


def take_from_another_step(entry: Entry) -> None:
    other = next(entry.path.parent.glob("gen-00000001-*"))
    source = other / "model.safetensors"
    (entry.path / "model.safetensors").write_bytes(source.read_bytes())


def flip_manifest(entry: Entry) -> None:
    flip(entry.path / "MANIFEST", -5)


def empty_manifest(entry: Entry) -> None:
    (entry.path / "MANIFEST").write_bytes(b"")


def lose_manifest(entry: Entry) -> None:
    (entry.path / "MANIFEST").unlink()


def take_manifest_from_another_step(entry: Entry) -> None:
    other = next(entry.path.parent.glob("gen-00000001-*"))
    (entry.path / "MANIFEST").write_bytes((other / "MANIFEST").read_bytes())


DAMAGES = [
    (truncate, "model.safetensors: truncated"),
    (truncate_to_nothing, "model.safetensors: truncated: has 0 bytes"),
    (lengthen, "model.safetensors: too long"),
    (flip_last_bit, "model.safetensors: its checksum does not match"),
    (flip_header_length, "model.safetensors: "),
    (flip_header, "model.safetensors: "),
    (zero, "model.safetensors: "),
    (lose, "model.safetensors: is missing"),
    (swap, "model.safetensors: "),
    (replace_by_directory, "model.safetensors: cannot be read: not a plain file"),
    (replace_by_pipe, "model.safetensors: cannot be read: not a plain file"),
    (replace_by_link, "model.safetensors: cannot be read: not a plain file"),
    (take_from_another_step, "model.safetensors: its checksum does not match"),
    (flip_manifest, "MANIFEST: its checksum does not match"),
    (empty_manifest, "MANIFEST: is empty"),
    (lose_manifest, "MANIFEST: is missing"),
    (take_manifest_from_another_step, "MANIFEST: belongs to another checkpoint"),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGES)
def test_damage_is_named_and_the_next_good_one_is_used(
    run_dir: Path, lease: Lease, damage: Callable[[Entry], None], expected: str
) -> None:
    save_step(run_dir, 1, lease)
    good = save_step(run_dir, 2, lease)
    bad = save_step(run_dir, 3, lease)
    damage(bad)

    verdict = catalog.verify(bad.path)
    assert (verdict.name, verdict.step, verdict.ok) == (bad.name, 3, False)
    assert any(problem.startswith(expected) for problem in verdict.problems), verdict

    told: list[Verdict] = []
    loaded = load_newest(run_dir, told.append)
    assert loaded is not None
    assert loaded.entry.name == good.name
    assert same(loaded.files, state(2))
    assert [(verdict.name, verdict.ok) for verdict in told] == [(bad.name, False)]
    assert any(problem.startswith(expected) for problem in told[0].problems), told


@pytest.mark.parametrize(("damage", "expected"), DAMAGES)
def test_what_is_listed_and_what_is_damaged_add_up(
    run_dir: Path, lease: Lease, damage: Callable[[Entry], None], expected: str
) -> None:
    first = save_step(run_dir, 1, lease)
    bad = save_step(run_dir, 2, lease)
    damage(bad)
    listed = [entry.name for entry in catalog.list_checkpoints(run_dir)]
    reported = [verdict.name for verdict in catalog.damaged(run_dir)]
    assert sorted(listed + reported) == sorted([first.name, bad.name])
    assert first.name in listed


def test_a_damaged_one_is_set_aside_and_nothing_of_it_is_deleted(
    run_dir: Path, lease: Lease
) -> None:
    save_step(run_dir, 1, lease)
    bad = save_step(run_dir, 2, lease)
    flip_last_bit(bad)
    before = {path.name: path.read_bytes() for path in bad.path.iterdir()}
    load_newest(run_dir, lambda verdict: None)
    aside = bad.path.with_name(bad.name.replace("gen-", "damaged-"))
    after = {path.name: path.read_bytes() for path in aside.iterdir()}
    assert after.pop("WHY.txt") == b"model.safetensors: its checksum does not match\n"
    assert after == before
    assert not bad.path.exists()
    assert [entry.step for entry in catalog.list_checkpoints(run_dir)] == [1]


def test_when_all_are_damaged_each_is_told_and_nothing_is_loaded(
    run_dir: Path, lease: Lease
) -> None:
    names = []
    for step in (1, 2, 3):
        entry = save_step(run_dir, step, lease)
        flip_last_bit(entry)
        names.append(entry.name)
    told: list[Verdict] = []
    assert load_newest(run_dir, told.append) is None
    assert [verdict.name for verdict in told] == names[::-1]


def test_a_damaged_one_older_than_the_good_one_is_left_where_it_is(
    run_dir: Path, lease: Lease
) -> None:
    old = save_step(run_dir, 1, lease)
    flip_manifest(old)
    save_step(run_dir, 2, lease)
    told: list[Verdict] = []
    assert load_newest(run_dir, told.append) is not None
    assert told == []
    assert old.path.exists()


def test_a_stray_file_is_named_but_does_no_harm(run_dir: Path, lease: Lease) -> None:
    entry = save_step(run_dir, 1, lease)
    (entry.path / "notes.txt").write_text("mine")
    (entry.path.parent / "notes.txt").write_text("mine")
    (entry.path.parent / "gen-of-somebody").mkdir()
    verdict = catalog.verify(entry.path)
    assert verdict.ok
    assert verdict.problems == ("notes.txt: not in the manifest, left alone",)
    loaded = load_newest(run_dir, lambda verdict: pytest.fail(f"{verdict}"))
    assert loaded is not None
    assert same(loaded.files, state(1))


def test_every_flipped_bit_of_a_checkpoint_is_found(run_dir: Path, lease: Lease) -> None:
    entry = save_step(run_dir, 1, lease)
    for name in ("model.safetensors", "MANIFEST"):
        path = entry.path / name
        good = path.read_bytes()
        for at in range(len(good)):
            bad = bytearray(good)
            bad[at] ^= 1 << (at % 8)
            path.write_bytes(bad)
            assert not catalog.verify(entry.path).ok
            with pytest.raises(DamagedError, match=name):
                load(entry)
        path.write_bytes(good)
    assert catalog.verify(entry.path).ok


def failing(kind: str, suffix: str, code: int) -> FaultyDisk:
    def fault(operation: Operation) -> int:
        return code if operation.kind == kind and operation.path.name.endswith(suffix) else 0

    return FaultyDisk(fault)


@pytest.mark.parametrize("kind", ["open", "read", "size"])
@pytest.mark.parametrize("suffix", ["model.safetensors", "MANIFEST"])
def test_a_sector_that_cannot_be_read_is_damage(
    run_dir: Path, lease: Lease, kind: str, suffix: str
) -> None:
    entry = save_step(run_dir, 1, lease)
    disk = failing(kind, suffix, errno.EIO)
    with pytest.raises(DamagedError, match=f"{suffix}: cannot be read: Input/output error"):
        load(entry, disk=disk)
    verdict = catalog.verify(entry.path, disk=disk)
    assert not verdict.ok
    assert suffix in verdict.problems[0]


@pytest.mark.parametrize("kind", ["open", "size"])
def test_a_missing_permission_is_no_damage_and_hides_no_good_checkpoint(
    run_dir: Path, lease: Lease, kind: str
) -> None:
    save_step(run_dir, 1, lease)
    entry = save_step(run_dir, 2, lease)
    disk = failing(kind, "model.safetensors", errno.EACCES)
    with pytest.raises(PermissionError):
        load_newest(run_dir, lambda verdict: pytest.fail(f"{verdict}"), disk=disk)
    assert entry.path.exists()


def test_a_disk_that_takes_no_writes_still_gives_the_older_one(run_dir: Path, lease: Lease) -> None:
    save_step(run_dir, 1, lease)
    bad = save_step(run_dir, 2, lease)
    flip_last_bit(bad)
    told: list[Verdict] = []
    loaded = load_newest(run_dir, told.append, disk=failing("rename", "", errno.EROFS))
    assert loaded is not None
    assert loaded.entry.step == 1
    assert told[1].problems == ("could not be set aside: Read-only file system",)
    assert bad.path.exists()


def test_a_file_that_shrinks_while_it_is_read_is_noticed(run_dir: Path, lease: Lease) -> None:
    entry = save_step(run_dir, 1, lease)

    def shrink(operation: Operation) -> int:
        if operation.kind == "open" and operation.path.name == "model.safetensors":
            os.truncate(operation.path, operation.path.stat().st_size - 4)
        return 0

    with pytest.raises(DamagedError, match=r"model\.safetensors: truncated"):
        load(entry, disk=FaultyDisk(shrink))
