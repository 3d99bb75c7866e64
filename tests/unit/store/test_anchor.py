"""The file of an open store is taken away: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store import Store, StoreFailed
from tests.unit.store.world import START, later, submit

_ENDS = ("", "-wal", "-shm")


def delete_all(path: Path) -> None:
    for end in _ENDS:
        path.with_name(path.name + end).unlink()


def delete_the_file_only(path: Path) -> None:
    path.unlink()


def put_yesterdays_in_its_place(path: Path) -> None:
    yesterday = path.with_name("yesterday.sqlite")
    other = Store.open(f"sqlite:///{yesterday}")
    submit(other, "of-yesterday")
    other.close()
    yesterday.replace(path)


def make_it_empty_anew(path: Path) -> None:
    path.unlink()
    path.touch()


FATES = [delete_all, delete_the_file_only, put_yesterdays_in_its_place, make_it_empty_anew]


@pytest.fixture
def path(tmp_path: Path, migrated_file: Path) -> Path:
    shutil.copy(migrated_file, tmp_path / "homerun.sqlite")
    return tmp_path / "homerun.sqlite"


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("fresh_connections", [False, True])
def test_a_file_taken_away_under_a_living_daemon_is_written_anew(
    path: Path, fate: Callable[[Path], None], fresh_connections: bool
) -> None:
    store = Store.open(f"sqlite:///{path}")
    submit(store, "before")
    fate(path)
    if fresh_connections:
        # else the pool would hide what a new connection finds
        store.engine.dispose()
    submit(store, "after")
    (told,) = store.news()
    assert f"The store {path} was" in told
    assert "nothing of it is lost" in told
    assert store.news() == []
    store.close()

    again = Store.open(f"sqlite:///{path}")
    with again.transaction() as tx:
        assert [run.name for run in tx.runs.all()] == ["before", "after"]
    again.close()
    assert not path.with_name("homerun.sqlite-wal").exists()


def test_what_lay_there_is_set_aside_and_named(path: Path) -> None:
    store = Store.open(f"sqlite:///{path}")
    put_yesterdays_in_its_place(path)
    submit(store, "after")
    aside = path.parent / "found-store-1"
    assert str(aside) in store.news()[0]
    store.close()
    theirs = Store.open(f"sqlite:///{aside / path.name}")
    with theirs.transaction() as tx:
        assert [run.name for run in tx.runs.all()] == ["of-yesterday"]
    theirs.close()


def test_a_file_that_is_gone_at_the_orderly_end_is_there_for_the_next_start(path: Path) -> None:
    store = Store.open(f"sqlite:///{path}")
    submit(store, "before")
    delete_all(path)
    store.close()
    again = Store.open(f"sqlite:///{path}")
    with again.transaction() as tx:
        assert tx.runs.get("before")
    again.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: NOT TRIED HERE")
def test_where_it_cannot_be_written_anew_nothing_happens_until_it_can(path: Path) -> None:
    store = Store.open(f"sqlite:///{path}")
    delete_all(path)
    path.parent.chmod(0o500)
    with pytest.raises(StoreFailed, match="was deleted and could not be written anew"):
        submit(store, "in-vain")
    path.parent.chmod(0o700)
    submit(store, "after")
    with store.transaction() as tx:
        assert [run.name for run in tx.runs.all()] == ["after"]
    store.close()


def test_a_directory_that_went_with_it_is_a_failure_that_names_the_store(path: Path) -> None:
    state = path.parent / "state"
    state.mkdir()
    path = path.rename(state / path.name)
    store = Store.open(f"sqlite:///{path}")
    submit(store, "before")
    shutil.rmtree(state)
    with pytest.raises(StoreFailed, match="was deleted and could not be written anew"):
        submit(store, "in-vain")
    state.mkdir()
    with store.transaction() as tx:
        tx.journal.write("tick", "it is back", later(1))
        assert [run.name for run in tx.runs.all()] == ["before"]
        assert tx.runs.get("before").created == START  # type: ignore[union-attr] # it is there
    store.close()
