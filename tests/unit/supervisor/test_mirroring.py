"""The mirror is filled in the background, and asked when nothing whole is left here."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain import MirrorView, Reason
from orchestrator.errors import HomerunError, Invalid, NotFound, Refused
from orchestrator.settings.checkpoint_config import CheckpointConfig
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import SPEC, Rig
from trainer.checkpoint import catalog, mirror
from trainer.checkpoint.mirror import open_place
from trainer.contract import messages as m
from trainer.contract import spec as run_spec


@pytest.fixture
def nas(tmp_path: Path) -> Path:
    nas = tmp_path / "nas"
    nas.mkdir()
    return nas


@pytest.fixture
def make_rig(tmp_path: Path, nas: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(name: str = "home", **options: Any) -> Rig:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        config = CheckpointConfig.model_validate({"mirror": str(nas), **options})
        rigs.append(Rig(root, checkpoint=config))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.store.close()


def begin(rig: Rig, steps: int) -> list[catalog.Entry]:
    """A run that was trained a little: its record, and a checkpoint a step."""
    if not rig.commands.runs():
        rig.submit()
    run_dir = rig.supervisor.paths.run("month")
    run_dir.mkdir(parents=True, exist_ok=True)
    spec = run_spec.from_dict(SPEC)
    record = {"spec": spec.to_dict(), "spec_digest": spec.digest()}
    (run_dir / "run.json").write_text(json.dumps(record))
    there = len(catalog.list_checkpoints(run_dir))
    entries = [
        commit_plain(run_dir, there + at + 1, run="month", digest=spec.digest())
        for at in range(steps)
    ]
    with rig.store.transaction() as tx:
        from orchestrator.recovery import row_of

        for entry in entries:
            tx.checkpoints.add(row_of("month", entry))
    return entries


def there(nas: Path) -> list[int]:
    return [name.step for name in mirror.candidates(open_place(str(nas), "month"))]


def local(rig: Rig) -> list[int]:
    return [entry.step for entry in catalog.list_checkpoints(rig.supervisor.paths.run("month"))]


def kinds(rig: Rig) -> list[str]:
    return [kind for kind in rig.kinds() if kind.startswith(("mirror", "restored", "hold"))]


def rescue(rig: Rig) -> None:
    """What the keeper's thread does when it was asked."""
    rig.keeper._rescue_all()
    rig.settle()


def test_the_newest_is_copied_read_back_and_told(make_rig: Callable[..., Rig], nas: Path) -> None:
    rig = make_rig()
    begin(rig, 2)
    rig.keeper.mirroring.saved("month")
    rig.keeper.mirroring.work()
    assert there(nas) == [2]
    assert kinds(rig) == ["mirrored"]
    assert json.loads((nas / "month" / "run.json").read_text())["spec"]["name"] == "month"
    rig.keeper.mirroring.work()
    assert kinds(rig) == ["mirrored"]


def test_it_is_filled_at_most_so_often_but_for_a_last_one(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig(mirror_every=3600.0, mirror_keep=2)
    mirroring = rig.keeper.mirroring
    for at_once, wait, expected in (
        (False, 0.0, [1]),
        (False, 60.0, [1]),
        (True, 0.0, [3, 1]),
        (False, 3601.0, [4, 3]),
    ):
        begin(rig, 1)
        rig.clock.advance(wait)
        mirroring.saved("month", at_once=at_once)
        mirroring.work()
        assert there(nas) == expected


def test_a_mirror_that_is_away_is_told_once_and_tried_again_with_patience(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 1)
    aside = nas.with_name("unplugged")
    nas.rename(aside)
    rig.keeper.mirroring.saved("month")
    tries = 0
    for _ in range(200):
        before = rig.keeper.mirroring._failures.get("month", 0)
        rig.keeper.mirroring.work()
        tries += rig.keeper.mirroring._failures.get("month", 0) > before
        rig.clock.advance(60.0)
    assert 5 <= tries <= 12
    assert kinds(rig) == ["mirror_failed"]
    rig.settle()
    assert rig.supervisor.books.total("month", "mirror_failures") == tries
    aside.rename(nas)
    rig.clock.advance(3601.0)
    rig.keeper.mirroring.work()
    assert there(nas) == [1]
    told = rig.commands.journal(limit=1)[0]
    assert told.kind == "mirrored"
    assert f"after {tries} failures" in told.message


def test_another_run_of_the_same_name_is_left_alone(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 1)
    other = nas / "month"
    other.mkdir()
    (other / "run.json").write_text('{"spec_digest": "0123"}')
    rig.keeper.mirroring.saved("month")
    rig.keeper.mirroring.work()
    assert "another run of the same name" in rig.commands.journal(limit=1)[0].message
    assert there(nas) == []


def test_a_run_whose_directory_is_gone_comes_back_by_itself(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 3)
    rig.keeper.mirroring.copy("month")
    rig.crash()
    shutil.rmtree(rig.supervisor.paths.run("month"))
    rig.settle()
    assert rig.engine.running is None, "no trainer may begin from nothing"
    rescue(rig)
    assert rig.engine.running is not None
    assert [
        entry.step for entry in catalog.list_checkpoints(rig.supervisor.paths.run("month"))
    ] == [3]
    assert (rig.supervisor.paths.run("month") / "run.json").exists()
    assert "restored" in kinds(rig)


def test_when_the_trainer_finds_none_whole_the_mirror_is_asked_before_it_starts_over(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 2)
    rig.keeper.mirroring.copy("month")
    rescue(rig)
    attempt = rig.engine.running
    assert attempt is not None
    for entry in catalog.list_checkpoints(rig.supervisor.paths.run("month")):
        catalog.quarantine(entry.path, "as the trainer does")
    rig.engine.event(m.Hello("month", attempt, 4711))
    rig.engine.event(m.Notice("starts_over", "no whole checkpoint is left", "error"))
    rig.settle()
    rig.die("killed")
    rig.pass_time(400)
    assert rig.engine.running is None
    rescue(rig)
    assert rig.engine.running == attempt + 1
    assert local(rig) == [2]


def test_while_the_mirror_is_away_a_trained_run_waits_and_says_why(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 2)
    rig.keeper.mirroring.copy("month")
    rig.crash()
    shutil.rmtree(rig.supervisor.paths.run("month"))
    aside = nas.with_name("unplugged")
    nas.rename(aside)
    rig.settle()
    rescue(rig)
    [hold] = rig.settle().holds
    assert (hold.reason, hold.source) == (Reason.NETWORK, "mirror")
    assert "mount it, or unset checkpoint.mirror" in hold.detail
    rescue(rig)
    assert kinds(rig).count("hold_started") == 1
    aside.rename(nas)
    rescue(rig)
    assert rig.settle().holds == ()
    assert rig.engine.running is not None


def test_a_hold_of_a_daemon_that_died_is_decided_anew(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 1)
    rig.keeper.mirroring._hold("month", "gone")
    rig.crash()
    rig.keeper.mirroring.begin()
    rig.supervisor.registrar.forget()
    assert rig.settle().holds == ()


def test_a_new_run_starts_at_once_even_if_the_mirror_is_away(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    nas.rmdir()
    rig.submit()
    assert rig.engine.running is None
    rescue(rig)
    assert rig.engine.running is not None
    assert rig.settle().holds == ()


def test_without_a_mirror_nobody_is_asked(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(mirror="")
    rig.submit()
    assert rig.engine.running is not None


def test_a_run_is_restored_on_a_fresh_machine_and_goes_on(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    old = make_rig()
    begin(old, 3)
    for _ in range(2):
        old.keeper.mirroring.copy("month")
        begin(old, 1)
    newest = open_place(str(nas), "month").generations()[0]
    victim = nas / "month" / "checkpoints" / str(newest) / "optimizer.bin"
    victim.write_bytes(victim.read_bytes()[::-1])
    fresh = make_rig("fresh", mirror="")
    checkpoint = fresh.commands.restore("month", str(nas), "test")
    assert checkpoint.step == 3
    assert [run.name for run in fresh.commands.runs()] == ["month"]
    assert [row.step for row in fresh.commands.checkpoints("month")] == [3]
    damaged = [item for item in fresh.commands.journal(limit=99) if item.kind == "mirror_damaged"]
    assert "optimizer.bin: its checksum does not match" in damaged[0].message
    fresh.settle()
    assert fresh.engine.jobs[-1].spec == run_spec.from_dict(SPEC)
    with pytest.raises(Refused, match="being trained here"):
        fresh.commands.restore("month", str(nas), "test")


def test_what_cannot_be_restored_is_refused_with_the_fix(
    make_rig: Callable[..., Rig], nas: Path, tmp_path: Path
) -> None:
    rig = make_rig()
    begin(rig, 1)
    rig.keeper.mirroring.copy("month")
    fresh = make_rig("fresh", mirror="")
    for name, url, kind, words in (
        ("other", str(nas), NotFound, "no run 'other' below"),
        ("month", str(tmp_path / "nowhere"), Invalid, "mount it"),
        ("../month", str(nas), Invalid, "no name of a run"),
    ):
        with pytest.raises(kind, match=words):
            fresh.commands.restore(name, url, "test")
    with pytest.raises(Refused, match="step 1 here"):
        make_rig(mirror="").commands.restore("month", str(nas), "test")
    for path in (nas / "month" / "checkpoints").glob("*/model.bin"):
        path.write_bytes(b"rust")
    with pytest.raises(HomerunError, match="no whole checkpoint of month is left"):
        fresh.commands.restore("month", str(nas), "test")
    record = json.loads((nas / "month" / "run.json").read_text())
    record["spec"]["data"]["corpus"] = "/nowhere/texts"
    (nas / "month" / "run.json").write_text(json.dumps(record))
    with pytest.raises(Refused, match="/nowhere/texts is not on this machine"):
        fresh.commands.restore("month", str(nas), "test")
    assert fresh.commands.runs() == []


def test_the_password_of_a_mirror_is_not_shown(make_rig: Callable[..., Rig]) -> None:
    from orchestrator.settings.config import Config, view

    config = Config(checkpoint=CheckpointConfig(mirror="sftp://me:secret@nas/backup"))
    assert view(config)["checkpoint"]["mirror"] == "sftp://me:***@nas/backup"


def test_the_runs_own_directory_is_no_mirror_and_loses_nothing(
    make_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    alias = tmp_path / "alias"
    rig = make_rig(mirror=str(alias), mirror_keep=1)
    alias.symlink_to(rig.supervisor.paths.runs)
    begin(rig, 3)
    rig.keeper.mirroring.saved("month")
    rig.keeper.mirroring.work()
    assert local(rig) == [3, 2, 1]
    told = rig.commands.journal(limit=1)[0]
    assert told.kind == "mirror_failed"
    assert "the directory of the run's own checkpoints: name one on another disk" in told.message


def test_when_even_the_mirror_has_nothing_a_person_is_asked(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()
    begin(rig, 2)
    rig.crash()
    shutil.rmtree(rig.supervisor.paths.run("month"))
    rig.settle()
    rescue(rig)
    [hold] = rig.settle().holds
    assert (hold.reason, hold.source) == (Reason.DISK, "checkpoints")
    assert rig.engine.running is None
    rig.commands.resume(run=None, source="cli")
    rig.settle()
    rescue(rig)
    assert rig.engine.running is not None


def test_after_starting_over_the_mirror_keeps_what_it_says_that_it_has(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig(mirror_keep=1)
    begin(rig, 4)
    assert rig.keeper.mirroring.copy("month")
    rig.crash()
    shutil.rmtree(rig.supervisor.paths.run("month"))
    [first] = begin(rig, 1)
    assert rig.keeper.mirroring.copy("month") == first.name
    assert there(nas) == [4, 1], "the older life is not this one's to delete either"


def test_the_list_tells_what_is_pinned_verified_and_mirrored(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    begin(rig, 1)
    rig.keeper.mirroring.saved("month")
    assert rig.commands.checkpoints("month")[0].mirrored is None, "nobody has looked yet"
    rig.keeper.mirroring.work()
    [old, new] = [*rig.commands.checkpoints("month"), *begin(rig, 1)]
    rig.commands.pin("month", new.name, pinned=True, source="cli")
    rows = {row.step: row for row in rig.commands.checkpoints("month")}
    assert old.name == rows[1].name
    assert (rows[1].pinned, rows[1].mirrored) == (False, True)
    assert rows[1].verified is not None
    assert (rows[2].pinned, rows[2].mirrored, rows[2].verified) == (True, False, None)
    alone = make_rig(mirror="")
    assert alone.commands.checkpoints("month")[0].mirrored is None


def test_the_status_tells_the_newest_copy_and_why_there_is_no_newer_one(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    rig = make_rig()

    def view() -> MirrorView | None:
        run = rig.settle().run
        assert run is not None
        return run.mirror

    [first] = begin(rig, 1)
    assert view() == MirrorView(), "nobody has looked yet"
    rig.keeper.mirroring.saved("month")
    rig.keeper.mirroring.work()
    copied = MirrorView(1, first.manifest.created)
    assert view() == copied
    begin(rig, 1)
    nas.rename(nas.with_name("unplugged"))
    rig.keeper.mirroring.saved("month", at_once=True)
    rig.keeper.mirroring.work()
    failing = view()
    assert failing is not None
    assert "is not there: mount it" in failing.failure
    assert dataclasses.replace(failing, failure="") == copied
    nas.with_name("unplugged").rename(nas)
    rig.clock.advance(61)
    rig.keeper.mirroring.work()
    assert view() == dataclasses.replace(copied, step=2)
    run = make_rig("alone", mirror="")
    begin(run, 1)
    shown = run.settle().run
    assert shown is not None
    assert shown.mirror is None


def test_two_homeruns_with_one_run_do_not_thin_each_others_copies(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    first, second = make_rig("first", mirror_keep=1), make_rig("second", mirror_keep=1)
    begin(first, 3)
    begin(second, 5)
    for rig in (first, second, first):
        rig.keeper.mirroring.saved("month", at_once=True)
        rig.keeper.mirroring.work()
        rig.clock.advance(3601.0)
    assert there(nas) == [3]
    assert kinds(second) == ["mirror_failed"]
    told = next(entry for entry in second.commands.journal() if entry.kind == "mirror_failed")
    assert "those of another homerun, on " in told.message
    assert "delete month/owner there" in told.message
    (nas / "month" / "owner").unlink()
    second.keeper.mirroring.work()
    assert there(nas) == [5]


def test_who_restores_takes_the_copies_over_and_says_so(
    make_rig: Callable[..., Rig], nas: Path
) -> None:
    old = make_rig("old")
    begin(old, 2)
    old.keeper.mirroring.saved("month")
    old.keeper.mirroring.work()
    assert "mirror_taken_over" not in kinds(old)
    fresh = make_rig("fresh")
    fresh.commands.restore("month", str(nas), source="cli")
    assert "mirror_taken_over" in kinds(fresh)
    begin(fresh, 2)
    fresh.keeper.mirroring.saved("month")
    fresh.keeper.mirroring.work()
    assert there(nas)[0] == 3
    begin(old, 1)
    with pytest.raises(mirror.PlaceError, match="those of another homerun"):
        old.keeper.mirroring.copy("month")
    # the same homerun that lost its own checkpoints takes nothing over
    shutil.rmtree(fresh.supervisor.paths.run("month"))
    assert fresh.keeper.mirroring.rescue("month")
    assert kinds(fresh).count("mirror_taken_over") == 1
