"""When nothing whole is left here, the mirror is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain import Reason
from orchestrator.errors import HomerunError, Invalid, NotFound, Refused
from tests.unit.supervisor.nas import begin, kinds, local, rescue, there
from tests.unit.supervisor.rig import SPEC, Rig
from trainer.checkpoint import catalog, mirror
from trainer.checkpoint.mirror import open_place
from trainer.contract import spec as run_spec


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
    attempt = rig.find_nothing_whole()
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
