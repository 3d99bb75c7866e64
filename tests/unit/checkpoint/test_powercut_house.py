"""Power cuts beyond the save: retention, pins, rollbacks, the run's record, a mirror's copy.

The same machine as in ``test_powercut``: every disk that a cut may leave, by the weakest reading
of POSIX. Each campaign also runs without one of its syncs, and must notice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.unit.checkpoint.plain import OPEN, commit_plain, content, manifest, stream
from tests.unit.checkpoint.powercut import (
    ImageDisk,
    cut_everywhere,
    disks_after_a_cut,
    without,
)
from tests.unit.loop.support import tiny_spec
from trainer import record
from trainer.checkpoint import catalog, mirror
from trainer.checkpoint.commit import commit
from trainer.checkpoint.disk import Operation, RecordingDisk
from trainer.checkpoint.place import LocalPlace
from trainer.checkpoint.retention import Policy, is_pinned, pin, retain

Mutation = Callable[[Operation], bool]


def syncs(*names: str) -> Mutation:
    """Picks the syncs of files and directories whose name begins so."""
    return lambda operation: (
        operation.kind in ("fsync", "fsync_dir") and operation.path.name.startswith(names)
    )


# --- retention and pins -------------------------------------------------------------------


def record_retention(run_dir: Path, saves: int = 7) -> list[Operation]:
    """Saves with a thinning history, a best one and a pinned one; each read back first."""
    disk = RecordingDisk()
    run_dir.mkdir()
    policy, scores = Policy(newest=2, history=2, best=1), {2: 0.5}
    for step in range(1, saves + 1):
        files = {"model.bin": content(step, 48)}
        entry = commit_plain(run_dir, step, files=files, disk=disk, chunk_bytes=24)
        disk.mark(f"saved {entry.name}")
        if step == 3:
            pin(entry.path, disk=disk)
        retain(run_dir, policy, scores, thorough=True, disk=disk)
    return disk.log


def test_no_cut_in_a_retention_sweep_loses_what_it_keeps(tmp_path: Path, run_dir: Path) -> None:
    states = 0
    for operation, broken in cut_everywhere(record_retention(run_dir), tmp_path, run_dir):
        assert not broken, f"cut after {operation.kind} {operation.path}: {broken}"
        states += 1
    assert states > 5000
    kept = [entry.step for entry in catalog.list_checkpoints(run_dir)]
    assert kept == [7, 6, 5, 3, 2]


def test_two_whole_ones_are_left_at_any_time(tmp_path: Path, run_dir: Path) -> None:
    log = record_retention(run_dir, saves=5)
    for _, marks, disk in disks_after_a_cut(log, tmp_path, [run_dir]):
        whole = [
            entry
            for entry in catalog.list_checkpoints(run_dir, disk=disk)
            if catalog.verify(entry.path, disk=disk).ok
        ]
        assert len(whole) >= min(2, len(marks))


def record_pin(run_dir: Path) -> list[Operation]:
    disk = RecordingDisk()
    run_dir.mkdir()
    entry = commit_plain(run_dir, 1, files={"model.bin": b"one"}, disk=disk)
    pin(entry.path, disk=disk)
    disk.mark(f"pinned {entry.name}")
    return disk.log


def lost_pins(log: list[Operation], root: Path, run_dir: Path) -> int:
    lost = 0
    for _, marks, disk in disks_after_a_cut(log, root, [run_dir]):
        for name in (mark.split()[1] for mark in marks):
            lost += not is_pinned(catalog.checkpoints_dir(run_dir) / name, disk=disk)
    return lost


def test_a_pin_that_was_acknowledged_holds(tmp_path: Path, run_dir: Path) -> None:
    log = record_pin(run_dir)
    assert lost_pins(log, tmp_path, run_dir) == 0
    last = max(at for at, item in enumerate(log) if item.kind == "fsync_dir")
    assert lost_pins([*log[:last], *log[last + 1 :]], tmp_path, run_dir) > 0


# --- a rollback ---------------------------------------------------------------------------


def record_rollback(run_dir: Path) -> list[Operation]:
    """Three saves, a commit that replaces the two newest, and the tidying."""
    disk = RecordingDisk()
    run_dir.mkdir()
    entries = [
        commit_plain(run_dir, step, files={"model.bin": bytes([step, 7])}, disk=disk)
        for step in (1, 2, 3)
    ]
    for entry in entries:
        disk.mark(f"saved {entry.name}")
    undone = [entries[2].name, entries[1].name]
    files = [stream("model.bin", b"again")]
    back = commit(run_dir, files, manifest(2, meta={catalog.UNDONE: undone}), guard=OPEN, disk=disk)
    disk.mark(f"back {back.name}")
    catalog.undo(run_dir, undone, disk=disk)
    disk.mark("tidy")
    return disk.log


def goes_on_from(run_dir: Path, disk: ImageDisk) -> str:
    """What the next start would load: finish_rollback, then the newest."""
    entries = catalog.list_checkpoints(run_dir, disk=disk)
    undone = {name for entry in entries for name in entry.manifest.meta.get(catalog.UNDONE, ())}
    return next((entry.name for entry in entries if entry.name not in undone), "")


def wrong_ways(log: list[Operation], root: Path, run_dir: Path) -> list[str]:
    found = []
    for operation, marks, disk in disks_after_a_cut(log, root, [run_dir]):
        acknowledged = [mark.split() for mark in marks if mark != "tidy"]
        if len(acknowledged) < 3:
            continue
        name = goes_on_from(run_dir, disk)
        if acknowledged[-1][0] == "back" and name != acknowledged[-1][1]:
            found.append(f"after {operation.kind}: goes on from {name}")
        if not name:
            found.append(f"after {operation.kind}: nothing is left")
    return found


def test_a_rollback_is_decided_by_its_commit_and_nothing_else(
    tmp_path: Path, run_dir: Path
) -> None:
    log = record_rollback(run_dir)
    assert wrong_ways(log, tmp_path, run_dir) == []
    at = max(index for index, item in enumerate(log) if str(item.path).startswith("back "))
    committed = max(index for index in range(at) if log[index].kind == "fsync_dir")
    assert wrong_ways([*log[:committed], *log[committed + 1 :]], tmp_path, run_dir) != []


# --- run.json -----------------------------------------------------------------------------


def record_records(tmp_path: Path, run_dir: Path) -> tuple[list[Operation], list[record.Record]]:
    disk = RecordingDisk()
    run_dir.mkdir()
    first = record.first(tiny_spec(tmp_path), {"threads": 1})
    records = [first, dataclasses.replace(first, dataset="abc"), first.in_environment({}, 7)]
    records[2] = records[2].in_environment({"threads": 2}, 8)
    for number, one in enumerate(records):
        record.write(run_dir, one, disk=disk)
        disk.mark(f"record {number}")
    return disk.log, records


def lost_records(
    log: Iterable[Operation], records: list[record.Record], root: Path, run_dir: Path
) -> list[str]:
    found = []
    for operation, marks, disk in disks_after_a_cut(log, root, [run_dir]):
        try:
            one = record.read(run_dir, disk=disk)
        except record.RecordError as error:
            found.append(f"after {operation.kind}: {error}")
            continue
        if marks and (one is None or records.index(one) < len(marks) - 1):
            found.append(f"after {operation.kind}: an older record than was acknowledged")
    return found


def test_the_record_of_a_run_is_the_old_one_or_the_new_one(tmp_path: Path, run_dir: Path) -> None:
    log, records = record_records(tmp_path, run_dir)
    assert lost_records(log, records, tmp_path, run_dir) == []
    for forgotten in (syncs("run.json"), syncs("run")):
        broken = lost_records(without(log, forgotten), records, tmp_path, run_dir)
        assert broken != []


# --- a mirror -----------------------------------------------------------------------------


def record_copies(tmp_path: Path, run_dir: Path, copies: int, keep: int) -> list[Operation]:
    """Copies of real checkpoints into a directory, thinned out as they come."""
    disk = RecordingDisk()
    nas = tmp_path / "nas"
    nas.mkdir()
    source, target = LocalPlace(run_dir), LocalPlace(nas / "run", disk)
    for step in range(1, copies + 1):
        files = {"model.bin": bytes([step, 5, 9])}
        entry = commit_plain(run_dir, step, files=files)
        name = next(one for one in source.generations() if str(one) == entry.name)
        mirror.copy(source, target, name)
        disk.mark(f"mirrored {name}")
        for gone in mirror.thin(target, keep):
            disk.mark(f"thinned {gone}")
    return disk.log


def copies_after_cuts(log: Iterable[Operation], tmp_path: Path) -> Iterator[list[str]]:
    """For each disk that a cut may leave, what is wrong with the mirror there."""
    nas = tmp_path / "nas"
    for operation, marks, disk in disks_after_a_cut(log, tmp_path, [nas]):
        place = LocalPlace(nas / "run", disk)
        whole = [str(name) for name in mirror.candidates(place) if mirror.verify(place, name).ok]
        words = [mark.split() for mark in marks]
        copied = [name for word, name in words if word == "mirrored"]
        found = []
        if copied and copied[-1] not in whole:
            found.append(f"after {operation.kind}: the newest copy is lost")
        rotten = {str(name) for name in mirror.candidates(place)} - set(whole)
        yield found + [f"after {operation.kind}: trusted but damaged: {name}" for name in rotten]


def lost_copies(log: Iterable[Operation], tmp_path: Path) -> list[str]:
    return [text for found in copies_after_cuts(log, tmp_path) for text in found]


def test_a_copy_in_the_mirror_survives_any_cut(tmp_path: Path, run_dir: Path) -> None:
    assert lost_copies(record_copies(tmp_path, run_dir, 5, keep=2), tmp_path) == []


@pytest.mark.parametrize(
    "forgotten",
    [syncs("model.bin"), syncs("MANIFEST"), syncs("tmp-"), syncs("checkpoints"), syncs("run")],
    ids=["data", "manifest", "temporary directory", "checkpoints", "run"],
)
def test_the_campaign_notices_when_a_copy_lacks_a_sync(
    forgotten: Mutation, tmp_path: Path, run_dir: Path
) -> None:
    log = without(record_copies(tmp_path, run_dir, 1, keep=2), forgotten)
    assert lost_copies(log, tmp_path) != []


def test_the_checker_itself_sees_a_broken_promise(tmp_path: Path, run_dir: Path) -> None:
    """A campaign that is blind to a loss would prove nothing."""
    log = record_retention(run_dir, saves=2)
    forgotten = without(log, syncs("checkpoints"))
    assert any(broken for _, broken in cut_everywhere(forgotten, tmp_path, run_dir))
