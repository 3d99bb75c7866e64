"""Copies of checkpoints elsewhere: every byte checked, nothing half there, damage named."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from tests.unit.checkpoint.plain import commit_plain, manifest
from tests.unit.checkpoint.test_catalog import save_many, steps
from trainer.checkpoint import catalog, mirror
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.commit import SaveError
from trainer.checkpoint.disk import REAL, FaultyDisk, Operation
from trainer.checkpoint.format import DamagedError, Name
from trainer.checkpoint.place import LocalPlace, ObjectPlace, Place, PlaceError, open_place


@pytest.fixture(params=["directory", "file url", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A mirror of each kind, empty."""
    base = tmp_path / "nas"
    base.mkdir()
    url = {
        "directory": str(base),
        "file url": f"file://{base}",
        "memory": f"memory://{tmp_path.name}",
    }
    yield open_place(url[request.param], "run")
    fsspec.filesystem("memory").store.clear()


def names(place: Place) -> list[int]:
    return [name.step for name in mirror.candidates(place)]


def copy_all(run_dir: Path, place: Place) -> list[Name]:
    source = LocalPlace(run_dir)
    source.write_record(b'{"spec_digest": "cafe"}')
    place.write_record(source.read_record())
    for name in source.generations():
        mirror.copy(source, place, name)
    return source.generations()


def alter(place: Place, name: Name, file: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change or remove one file behind the mirror's back."""
    old = b"".join(bytes(piece) for piece in place.read(name, file))
    new = change(old)
    if isinstance(place, LocalPlace):
        path = place._home / str(name) / file
        path.unlink()
        if new is not None:
            path.write_bytes(new)
        return
    assert isinstance(place, ObjectPlace)
    path_there = place._path(name, file)
    place._system.rm_file(path_there)
    if new is not None:
        place._system.pipe_file(path_there, new)


def test_what_is_copied_there_and_back_is_the_same(
    run_dir: Path, tmp_path: Path, place: Place
) -> None:
    entries = save_many(run_dir, 3)
    copy_all(run_dir, place)
    assert names(place) == [3, 2, 1]
    assert all(mirror.verify(place, name).ok for name in place.generations())
    back = tmp_path / "back"
    back.mkdir()
    found = mirror.bring(place, LocalPlace(back), lambda verdict: None)
    assert found is not None
    assert found.step == 3
    assert LocalPlace(back).read_record() == b'{"spec_digest": "cafe"}'
    [entry] = catalog.list_checkpoints(back)
    assert catalog.verify(entry.path).ok
    for file in ("model.bin", "optimizer.bin", "MANIFEST"):
        assert (entry.path / file).read_bytes() == (entries[2].path / file).read_bytes()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda old: old[:-9], "model.bin: truncated: has 2991 bytes of 3000"),
        (lambda old: old[:7] + b"\xee" + old[8:], "model.bin: its checksum does not match"),
        (lambda old: None, "model.bin: is missing"),
        (lambda old: bytes(len(old)), "model.bin: its checksum does not match"),
        (lambda old: old + b"x", "model.bin: too long"),
    ],
)
def test_damage_in_the_mirror_is_named_and_the_one_before_is_taken(
    run_dir: Path,
    tmp_path: Path,
    place: Place,
    change: Callable[[bytes], bytes | None],
    problem: str,
) -> None:
    save_many(run_dir, 2)
    newest, _ = copy_all(run_dir, place)
    alter(place, newest, "model.bin", change)
    verdict = mirror.verify(place, newest)
    assert not verdict.ok
    assert any(text.startswith(problem) for text in verdict.problems)
    told: list[Verdict] = []
    back = tmp_path / "back"
    back.mkdir()
    found = mirror.bring(place, LocalPlace(back), told.append)
    assert found is not None
    assert found.step == 1
    assert steps(back) == [1]
    assert [one.name for one in told] == [str(newest)]
    assert told[0].problems[0].startswith(problem)


def test_swapped_files_and_a_strange_manifest_are_found(run_dir: Path, place: Place) -> None:
    save_many(run_dir, 2)
    newest, older = copy_all(run_dir, place)
    first = b"".join(bytes(piece) for piece in place.read(newest, "model.bin"))
    second = b"".join(bytes(piece) for piece in place.read(newest, "optimizer.bin"))
    alter(place, newest, "model.bin", lambda old: second)
    alter(place, newest, "optimizer.bin", lambda old: first)
    problems = mirror.verify(place, newest).problems
    assert [problem.split(":")[0] for problem in problems] == ["model.bin", "optimizer.bin"]
    other = b"".join(bytes(piece) for piece in place.read(older, "MANIFEST"))
    alter(place, newest, "MANIFEST", lambda old: other)
    assert "belongs to another checkpoint" in mirror.verify(place, newest).problems[0]
    assert names(place) == [1]


def test_a_copy_that_was_damaged_there_is_replaced(run_dir: Path, place: Place) -> None:
    save_many(run_dir, 1)
    [name] = copy_all(run_dir, place)
    alter(place, name, "model.bin", lambda old: None)
    assert names(place) == []
    mirror.copy(LocalPlace(run_dir), place, name)
    assert mirror.verify(place, name).ok
    assert len(place.generations()) == 1


def test_a_damaged_source_is_never_copied_as_whole(run_dir: Path, place: Place) -> None:
    [entry] = save_many(run_dir, 1)
    data = entry.path / "optimizer.bin"
    data.write_bytes(data.read_bytes()[::-1])
    source = LocalPlace(run_dir)
    with pytest.raises(DamagedError, match="its checksum does not match"):
        mirror.copy(source, place, source.generations()[0])
    assert names(place) == []


def test_a_copy_that_is_cut_short_is_none_and_the_next_one_mends_it(
    run_dir: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_many(run_dir, 1)
    source = LocalPlace(run_dir)
    [name] = source.generations()
    read = LocalPlace.read

    def cut(self: LocalPlace, one: Name, file: str) -> Iterator[memoryview]:
        if self is source and file == "optimizer.bin":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        yield from read(self, one, file)

    with monkeypatch.context() as patch:
        patch.setattr(LocalPlace, "read", cut)
        with pytest.raises(OSError, match="Network is unreachable"):
            mirror.copy(source, place, name)
    assert names(place) == []
    mirror.copy(source, place, name)
    assert names(place) == [1]


def test_thinning_keeps_the_newest_whole_ones_and_nothing_that_was_undone(
    run_dir: Path, place: Place
) -> None:
    save_many(run_dir, 5)
    copied = copy_all(run_dir, place)
    alter(place, copied[0], "model.bin", lambda old: old[:5])
    gone = mirror.thin(place, 2)
    assert [name.step for name in gone] == [5, 2, 1]
    assert names(place) == [4, 3]


def test_what_a_rollback_replaced_is_no_candidate(run_dir: Path, place: Place) -> None:
    entries = save_many(run_dir, 3)
    copy_all(run_dir, place)
    from tests.unit.checkpoint.plain import OPEN, content, stream
    from trainer.checkpoint.commit import commit

    meta = {catalog.UNDONE: [entries[2].name, entries[1].name]}
    back = commit(
        run_dir, [stream("model.bin", content(2))], manifest(2, meta=meta), guard=OPEN, disk=REAL
    )
    source = LocalPlace(run_dir)
    mirror.copy(source, place, next(one for one in source.generations() if str(one) == back.name))
    assert [str(name) for name in mirror.candidates(place)] == [back.name, entries[0].name]
    mirror.thin(place, 1)
    assert names(place) == [2]


def test_a_full_or_failing_target_leaves_nothing_that_looks_whole(
    run_dir: Path, tmp_path: Path
) -> None:
    save_many(run_dir, 1)
    source = LocalPlace(run_dir)
    [name] = source.generations()
    for kind in ("mkdir", "create", "write", "fsync", "rename", "fsync_dir"):
        base = tmp_path / kind
        base.mkdir()
        seen = 0

        def fault(operation: Operation, kind: str = kind) -> int:
            nonlocal seen
            seen += operation.kind == kind
            return errno.EIO if operation.kind == kind and seen > 2 else 0

        target = LocalPlace(base / "run", FaultyDisk(fault))
        for _ in range(2):
            try:
                mirror.copy(source, target, name)
            except OSError:
                continue
        whole = LocalPlace(base / "run")
        assert all(mirror.verify(whole, one).ok for one in whole.generations())


def test_a_target_without_room_is_refused_before_the_first_byte(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_many(run_dir, 1)
    source, target = LocalPlace(run_dir), LocalPlace(tmp_path / "nas")
    monkeypatch.setattr(type(REAL), "free_bytes", lambda self, path: 4000)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        mirror.copy(source, target, source.generations()[0])
    assert target.generations() == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/nowhere/at/all", "is not there: mount it"),
        ("file:///nowhere/at/all", "is not there: mount it"),
        ("carrierpigeon://roof", "carrierpigeon:// cannot be used"),
    ],
)
def test_a_place_that_cannot_be_is_named(url: str, words: str) -> None:
    with pytest.raises(PlaceError, match=words):
        open_place(url, "run")


def test_which_run_lies_there_is_told_by_its_record(tmp_path: Path, place: Place) -> None:
    assert mirror.spec_digest(place) == ""
    place.write_record(b'{"spec_digest": "beef"}')
    assert mirror.spec_digest(place) == "beef"
    place.write_record(b"torn {")
    assert mirror.spec_digest(place) == ""


def test_nothing_comes_of_an_empty_mirror(tmp_path: Path, place: Place) -> None:
    back = tmp_path / "back"
    back.mkdir()
    assert mirror.bring(place, LocalPlace(back), lambda verdict: None) is None
    assert mirror.thin(place, 3) == []
    shutil.rmtree(back)


def test_a_save_still_works_beside_what_was_brought(run_dir: Path, tmp_path: Path) -> None:
    save_many(run_dir, 1)
    back = tmp_path / "back"
    back.mkdir()
    LocalPlace(run_dir).write_record(b"{}")
    mirror.bring(LocalPlace(run_dir), LocalPlace(back), lambda verdict: None)
    try:
        commit_plain(back, 2, attempt=2)
    except SaveError as error:
        pytest.fail(str(error))
    assert steps(back) == [2, 1]


def test_a_swapped_checkpoint_in_the_mirror_is_named_and_not_brought(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    save_many(run_dir, 2)
    (tmp_path / "nas").mkdir()
    place = open_place(str(tmp_path / "nas"), "toy")
    record = b'{"spec": {"name": "toy"}, "spec_digest": "cafe"}'
    place.write_record(record)
    for name in LocalPlace(run_dir).generations():
        mirror.copy(LocalPlace(run_dir), place, name)
    alien = commit_plain(tmp_path / "alien", 9, run="other", digest="beef")
    shutil.copytree(alien.path, tmp_path / "nas" / "toy" / "checkpoints" / alien.name)
    told: list[Verdict] = []
    found = mirror.bring(place, LocalPlace(tmp_path / "fresh"), told.append)
    assert found is not None
    assert found.step == 2
    assert [verdict.problems for verdict in told] == [("MANIFEST: belongs to run 'other'",)]


@pytest.mark.parametrize("file", ["MANIFEST", "model.bin"])
def test_a_file_of_the_mirror_that_is_no_file_any_more_costs_only_its_checkpoint(
    tmp_path: Path, file: str
) -> None:
    run_dir = tmp_path / "run"
    save_many(run_dir, 2)
    (tmp_path / "nas").mkdir()
    place = open_place(str(tmp_path / "nas"), "toy")
    newest = copy_all(run_dir, place)[0]
    victim = tmp_path / "nas" / "toy" / "checkpoints" / str(newest) / file
    victim.unlink()
    os.mkfifo(victim)
    told: list[Verdict] = []
    found = mirror.bring(place, LocalPlace(tmp_path / "fresh"), told.append)
    assert found is not None
    assert found.step == 1
    assert [verdict.problems for verdict in told] == [
        (f"{file}: cannot be read: not a plain file",)
    ]


def test_a_place_knows_that_it_is_the_runs_own_directory_by_any_name(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "toy").mkdir(parents=True)
    (tmp_path / "link").symlink_to(runs)
    (tmp_path / "nas").mkdir()
    for url in (str(runs), f"file://{runs}", str(tmp_path / "link"), str(tmp_path / "nas/../runs")):
        assert open_place(url, "toy").is_at(runs / "toy")
        assert not open_place(url, "other").is_at(runs / "toy")
    assert not open_place(str(tmp_path / "nas"), "toy").is_at(runs / "toy")
    assert not open_place("memory://runs", "toy").is_at(runs / "toy")


def test_a_place_knows_whose_copies_it_has(place: Place) -> None:
    assert place.read_mark() == ""
    place.write_mark("cafe attic")
    place.write_mark("beef cellar")
    assert place.read_mark() == "beef cellar"
    assert names(place) == []
