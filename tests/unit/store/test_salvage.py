"""The store damaged, gone, cut or another one's: named, set aside, and the runs go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import daemon, salvage
from orchestrator import roster as rosters
from orchestrator.domain import Effect, RunState
from orchestrator.errors import Misconfigured, Refused
from orchestrator.paths import Paths
from orchestrator.recovery import index_checkpoints
from orchestrator.store import StoreDamaged
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.store.home import Home, flip, lose
from tests.unit.store.world import START, later, submit


def overwrite_a_page(home: Home) -> None:
    content = bytearray(home.paths.store.read_bytes())
    content[8192:12288] = b"\xa5" * 4096
    home.paths.store.write_bytes(content)


def flip_a_bit_of_a_text(home: Home) -> None:
    """No structure is hurt: only a checksum can tell."""
    at = home.paths.store.read_bytes().index(b"xxxxxxxx")
    flip(home.paths.store, at, quietly=True)


def cut_in_half(home: Home) -> None:
    os.truncate(home.paths.store, home.paths.store.stat().st_size // 2)


def empty(home: Home) -> None:
    os.truncate(home.paths.store, 0)


def fill_with_zeros(home: Home) -> None:
    home.paths.store.write_bytes(bytes(home.paths.store.stat().st_size))


def swap_with_another_homerun(home: Home) -> None:
    other = Home(home.paths.state.parent / "other")
    shutil.copyfile(other.paths.store, home.paths.store)


def log_of_another_homerun(home: Home) -> None:
    """A write-ahead log says nowhere to which database it belongs."""
    other = Home(home.paths.state.parent / "other")
    store, _ = other.open()
    for number in range(5):
        submit(store, f"theirs-{number}")
    log = other.paths.store.with_name("homerun.sqlite-wal")
    shutil.copyfile(log, home.paths.store.with_name("homerun.sqlite-wal"))
    store.close()


DAMAGES = [
    (overwrite_a_page, "is damaged: "),
    (flip_a_bit_of_a_text, "is damaged: its bytes are not those that homerun wrote"),
    (cut_in_half, "is damaged: "),
    (empty, "is empty"),
    (fill_with_zeros, "is damaged: "),
    (lose, "is missing"),
    (swap_with_another_homerun, "belongs to another homerun"),
    (log_of_another_homerun, "belongs to another homerun"),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGES)
def test_damage_is_named_kept_and_recovered_from(
    home: Home, damage: Callable[[Home], None], expected: str
) -> None:
    damage(home)
    before = home.paths.store.read_bytes() if home.paths.store.exists() else None
    store, keeper = home.open()
    assert f"{home.paths.store} {expected}" in home.told
    assert "goes on from its backup of" in home.told
    if before is not None:
        aside = next(home.paths.state.glob("damaged-store-20261201T*"))
        assert (aside / "homerun.sqlite").read_bytes() == before
        assert expected in (aside / "WHY.txt").read_text()
        assert str(aside) in home.told
    with store.transaction() as tx:
        runs = {run.name: (run.state, run.priority, run.bits_per_byte) for run in tx.runs.all()}
        holds = [(hold.run, hold.detail) for hold in tx.holds.active(later(100))]
        entry = tx.journal.newest(1)[0]
    assert runs == {
        "old": (RunState.FINISHED, 0, 0.75),
        "new": (RunState.QUEUED, 7, None),
    }
    assert holds == [("new", "a film")]
    assert (entry.kind, entry.severity) == ("store_salvaged", "error")
    assert entry.message == home.told
    home.close(store, keeper)
    store, _ = home.open()
    assert home.told == ""
    store.close()


def test_a_power_cut_is_no_damage_and_loses_no_log(home: Home, tmp_path: Path) -> None:
    store, keeper = home.open()
    submit(store, "newest")
    keeper.keep(later(20))
    after = Paths(tmp_path / "after")
    shutil.copytree(home.paths.state, after.state)
    store.close()
    opened = salvage.open_store(after, later(100))
    assert opened.told == ()
    with opened.store.transaction() as tx:
        assert tx.runs.get("newest")
    opened.store.close()


@pytest.mark.parametrize("left", [0, 0.4])
def test_a_log_that_was_lost_or_cut_is_noticed_and_no_run_is_lost(
    home: Home, tmp_path: Path, left: float
) -> None:
    """What the log held looks to SQLite as if it had never been written."""
    store, keeper = home.open()
    submit(store, "newest")
    with store.transaction() as tx:
        tx.journal.write("tick", "x", later(19))
    keeper.keep(later(20))
    after = Paths(tmp_path / "after")
    shutil.copytree(home.paths.state, after.state)
    store.close()
    log = after.store.with_name("homerun.sqlite-wal")
    os.truncate(log, int(log.stat().st_size * left))
    opened = salvage.open_store(after, later(100))
    assert "has gone back: its journal ends at entry" in opened.told[0]
    with opened.store.transaction() as tx:
        assert tx.runs.get("newest")
    opened.store.close()


def test_without_a_whole_backup_the_store_is_made_anew(home: Home) -> None:
    overwrite_a_page(home)
    flip(home.paths.backup, 5000, quietly=True)
    checkpoint = commit_plain(home.paths.run("old"), 3)
    store, _ = home.open()
    assert f"{home.paths.backup} is damaged" in home.told
    assert "There is no whole backup" in home.told
    assert {"homerun-backup.sqlite", "homerun.sqlite", "WHY.txt"} <= set(home.aside())
    with store.transaction() as tx:
        runs = tx.runs.all()
        assert {run.name for run in runs} == {"old", "new"}
    index_checkpoints(store, runs, home.paths.runs, later(101))
    with store.transaction() as tx:
        assert [row.name for row in tx.checkpoints.of("old")] == [checkpoint.name]
    store.close()


def test_the_older_backup_serves_when_the_newest_is_damaged(home: Home) -> None:
    store, keeper = home.open()
    salvage.back_up(store, home.paths, keeper)
    home.close(store, keeper)
    overwrite_a_page(home)
    home.paths.backup.write_bytes(b"garbage" * 2000)
    store, _ = home.open()
    assert f"The backup {home.paths.backup} is damaged" in home.told
    assert "goes on from its backup" in home.told
    store.close()


def test_without_backup_and_roster_the_runs_are_found_on_the_disk_and_held(home: Home) -> None:
    """Nobody knows whether they should run: a person says so."""
    spec = rosters.read(home.paths.roster).runs[0].spec  # type: ignore[union-attr] # it is there
    for path in home.paths.state.glob("*.sqlite"):
        path.write_bytes(b"garbage" * 2000)
    home.paths.roster.write_text("garbage")
    home.paths.run("old").mkdir()
    record = {"format": 1, "spec": {**spec, "name": "old"}}
    (home.paths.run("old") / "run.json").write_text(json.dumps(record))
    home.paths.run("strange").mkdir()
    (home.paths.run("strange") / "run.json").write_text("{")
    store, _ = home.open()
    assert "Found on the disk and held: old." in home.told
    with store.transaction() as tx:
        assert [(run.name, run.state) for run in tx.runs.all()] == [("old", RunState.QUEUED)]
        assert [(hold.run, hold.effect) for hold in tx.holds.active(later(100))] == [
            ("old", Effect.PAUSE)
        ]
    store.close()


def test_a_salvage_that_was_cut_short_is_finished_by_the_next_start(home: Home) -> None:
    overwrite_a_page(home)
    aside = home.paths.state / "damaged-store-20261201T000000Z"
    aside.mkdir()
    home.paths.store.rename(aside / "homerun.sqlite")
    store, _ = home.open()
    assert "is missing" in home.told
    with store.transaction() as tx:
        assert {run.name for run in tx.runs.all()} == {"old", "new"}
    store.close()


def test_a_store_that_somebody_put_there_on_purpose_is_used(home: Home) -> None:
    """A copy of one's own store, by hand, has another time: no rotten disk does that."""
    shutil.copyfile(home.paths.backup, home.paths.store)
    store, _ = home.open()
    assert "is damaged" not in home.told
    with store.transaction() as tx:
        assert {run.name for run in tx.runs.all()} == {"old", "new"}
    store.close()


def test_a_store_of_a_newer_homerun_is_no_damage(home: Home) -> None:
    store, keeper = home.open()
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9001'")
    home.close(store, keeper)
    with pytest.raises(Misconfigured, match="newer homerun"):
        home.open()
    assert home.aside() == []


def test_a_first_start_is_silent(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    opened = salvage.open_store(paths, START)
    assert opened.told == ()
    assert opened.identity == salvage.identity_of(paths.store) > 0
    opened.store.close()


def test_a_full_disk_is_no_fault_of_the_backup(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite_a_page(home)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(Refused, match="No space left") as error:
            home.open()
    assert "make room" in error.value.fix
    assert home.paths.backup.exists()
    store, _ = home.open()
    assert "goes on from its backup" in home.told
    store.close()


def test_a_start_that_failed_half_way_leaves_the_roster_as_it_was(home: Home) -> None:
    """The port is taken: the store is closed again before anybody has asked it anything."""
    before = rosters.read(home.paths.roster)
    home.close(*home.open())
    after = rosters.read(home.paths.roster)
    assert before is not None
    assert after is not None
    assert (after.runs, after.holds, after.journal) == (before.runs, before.holds, before.journal)


def test_a_store_that_went_back_is_told_of_once(home: Home) -> None:
    shutil.copyfile(home.paths.backup, home.paths.store)
    store, keeper = home.open()
    assert "has gone back" in home.told
    home.close(store, keeper)
    store, _ = home.open()
    assert home.told == ""
    store.close()


@pytest.mark.parametrize(("embedded", "code"), [(True, 1), (False, 78)])
def test_damage_found_by_a_running_daemon_lets_the_unit_restart(
    monkeypatch: pytest.MonkeyPatch, embedded: bool, code: int
) -> None:
    """78 ends a unit for good; the next start would salvage the embedded store."""

    def found(*arguments: object) -> None:
        raise StoreDamaged.at("homerun.sqlite", "a bad page")

    monkeypatch.setattr(daemon, "_run", found)
    parts: Any = SimpleNamespace(roster=object() if embedded else None)
    with pytest.raises(StoreDamaged) as error:
        daemon._run_or_restart(parts, None, None)
    assert error.value.exit_code == code
