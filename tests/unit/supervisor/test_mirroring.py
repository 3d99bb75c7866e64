"""The mirror is filled in the background."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from orchestrator.domain import MirrorView
from orchestrator.settings.checkpoint_config import CheckpointConfig
from tests.unit.supervisor.nas import begin, kinds, local, rescue, there
from tests.unit.supervisor.rig import Rig


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
