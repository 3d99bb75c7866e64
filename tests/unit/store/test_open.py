"""Stories of opening the store: first start, restart, and everything that may be wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from orchestrator.domain import AttemptEnd, RunState
from orchestrator.errors import Misconfigured
from orchestrator.store import Store, StoreDamaged
from tests.postgres import PostgresServer
from tests.unit.store.world import START, later, run_python, submit

_NOBODY = 65534


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def filled(path: Path) -> Path:
    """A closed store with enough in it for dozens of pages."""
    store = Store.open(sqlite_url(path))
    with store.transaction() as tx:
        for i in range(200):
            tx.journal.write("tick", f"{i} " + "x" * 500, START)
    store.close()
    return path


def test_restart_keeps_everything(url: str) -> None:
    store = Store.open(url)
    submit(store, "a")
    with store.transaction() as tx:
        tx.runs.set_state("a", RunState.ACTIVE, START)
        tx.attempts.begin("a", START)
        tx.attempts.end("a", 1, AttemptEnd.STOPPED, "", later(1), 5)
        tx.journal.write("stopped", "as told", later(1), run="a")
        before = (tx.runs.all(), tx.attempts.of("a"), tx.journal.newest(10))
    store.close()
    store = Store.open(url)
    with store.transaction() as tx:
        assert (tx.runs.all(), tx.attempts.of("a"), tx.journal.newest(10)) == before
    store.close()


def test_first_start_makes_the_directory_and_a_file_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deep" / "homerun.db"
    old_umask = os.umask(0)
    try:
        store = Store.open(sqlite_url(path))
        submit(store, "a")
    finally:
        os.umask(old_umask)
    files = [path, path.with_name("homerun.db-wal"), path.with_name("homerun.db-shm")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    store.close()


def test_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    path.chmod(0o644)
    Store.open(sqlite_url(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_connection_is_made_for_a_power_cut(tmp_path: Path) -> None:
    store = Store.open(sqlite_url(tmp_path / "homerun.db"))

    def pragma(name: str) -> object:
        with store.engine.connect() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

    full = 2
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == full
    assert pragma("foreign_keys") == 1
    assert pragma("busy_timeout") == 30_000
    store.close()


def test_closing_leaves_one_file_without_a_log(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    assert [file.name for file in tmp_path.iterdir()] == ["homerun.db"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchone() == (200,)


def test_closing_brings_everything_home_though_somebody_else_looks_on(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM journal").fetchall()
        store = Store.open(sqlite_url(path))
        submit(store, "a")
        store.close()
        assert path.with_name("homerun.db-wal").stat().st_size == 0


@pytest.mark.parametrize("content", [b"hello", b"garbage " * 4096, b"SQLite format 3\0" * 9])
def test_garbage_is_named_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "homerun.db"
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"homerun\.db is damaged") as error:
        Store.open(sqlite_url(path))
    assert "backup" in error.value.fix
    assert "run directories" in error.value.fix
    assert path.read_bytes() == content


def test_overwritten_page_is_found_before_anything_is_written(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    content = bytearray(path.read_bytes())
    page = len(content) // 2 // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="is damaged"):
        Store.open(sqlite_url(path))
    assert path.read_bytes() == bytes(content)


def test_looking_at_a_damaged_file_does_not_move_its_log_into_it(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    store = Store.open(sqlite_url(path))
    submit(store, "a")
    after_power_cut = tmp_path / "after" / "homerun.db"
    after_power_cut.parent.mkdir()
    content = bytearray(path.read_bytes())
    content[-8192:] = b"\xa5" * 8192
    after_power_cut.write_bytes(content)
    log = after_power_cut.with_name("homerun.db-wal")
    log.write_bytes(path.with_name("homerun.db-wal").read_bytes())
    size = log.stat().st_size
    store.close()
    with pytest.raises(StoreDamaged, match="is damaged"):
        Store.open(sqlite_url(after_power_cut))
    assert after_power_cut.read_bytes() == bytes(content)
    assert log.stat().st_size == size > 0


def test_truncated_file_is_found(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="is damaged"):
        Store.open(sqlite_url(path))
    assert path.read_bytes() == content


def test_damage_while_the_store_is_open_is_told(tmp_path: Path) -> None:
    path = filled(tmp_path / "homerun.db")
    store = Store.open(sqlite_url(path))
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (path.stat().st_size - 8192))
    with pytest.raises(StoreDamaged, match="is damaged"), store.transaction() as tx:
        tx.journal.newest(1000)
    with pytest.raises(StoreDamaged, match="is damaged"):
        store.backup(tmp_path / "backup.db")
    assert not (tmp_path / "backup.db").exists()
    store.close()


def test_file_left_empty_by_a_crash_at_the_first_start_is_used(tmp_path: Path) -> None:
    path = tmp_path / "homerun.db"
    path.touch()
    store = Store.open(sqlite_url(path))
    submit(store, "a")
    with store.transaction() as tx:
        assert [run.name for run in tx.runs.all()] == ["a"]
    store.close()


def test_database_of_another_program_is_left_alone(url: str) -> None:
    from sqlalchemy import create_engine

    foreign = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with foreign.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE bookmarks (id INTEGER)")
    with pytest.raises(Misconfigured, match="not homerun's: it holds bookmarks"):
        Store.open(url)
    with foreign.begin() as connection:
        connection.exec_driver_sql("SELECT id FROM bookmarks")
        with pytest.raises(Exception, match="runs"):
            connection.exec_driver_sql("SELECT name FROM runs")
    foreign.dispose()


def test_database_of_a_newer_homerun_is_left_alone(url: str) -> None:
    store = Store.open(url)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9001'")
    store.close()
    with pytest.raises(Misconfigured, match="written by a newer homerun") as error:
        Store.open(url)
    assert "9001" in error.value.message
    assert error.value.fix


@pytest.mark.parametrize(
    "place", ["/proc/homerun/homerun.db", "/dev/null/homerun.db", "{}", "{}/a/b"]
)
def test_place_that_takes_no_file_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "a").touch()
    path = Path(place.format(tmp_path))
    with pytest.raises(Misconfigured, match="cannot be opened") as error:
        Store.open(sqlite_url(path))
    assert str(path) in error.value.message
    assert "state_dir" in error.value.fix


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of its own for a process that is not root, whoever runs the tests."""
    directory = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(directory, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
    try:
        yield directory
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o700)
        shutil.rmtree(directory)


def test_directory_that_may_not_be_written_is_named() -> None:
    with unprivileged() as directory:
        directory.chmod(0o500)
        with pytest.raises(Misconfigured, match="Permission denied"):
            Store.open(sqlite_url(directory / "homerun.db"))


def test_store_in_a_directory_that_became_read_only_is_named() -> None:
    with unprivileged() as directory:
        filled(directory / "homerun.db")
        directory.chmod(0o500)
        with pytest.raises(Misconfigured, match="is not writable"):
            Store.open(sqlite_url(directory / "homerun.db"))


def test_file_that_became_read_only_is_named() -> None:
    with unprivileged() as directory:
        filled(directory / "homerun.db").chmod(0o400)
        with pytest.raises(Misconfigured, match="Permission denied"):
            Store.open(sqlite_url(directory / "homerun.db"))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "no database URL"),
        ("homerun.db", "no database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:x?mode=memory&uri=true", "names no file"),
        ("mysql://root@localhost/x", "not known here: mysql"),
    ],
)
def test_url_that_names_no_store_is_explained(url: str, problem: str) -> None:
    with pytest.raises(Misconfigured, match=problem) as error:
        Store.open(url)
    assert "sqlite:////" in error.value.fix


def test_unreachable_postgresql_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be reached") as error:
        Store.open(f"postgresql://me:secret@/homes?host={tmp_path}")
    assert "homes" in error.value.message
    assert "secret" not in str(error.value)


def test_missing_postgresql_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Misconfigured, match="driver is not installed") as error:
        Store.open("postgresql://me@/homes")
    assert "homerun[postgres]" in error.value.fix


def test_postgresql_database_that_is_not_utf8_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(Misconfigured, match="SQL_ASCII") as error:
        Store.open(postgres.create_database(encoding="SQL_ASCII"))
    assert "UTF8" in error.value.fix


def test_ordinary_start_loads_no_migration_machinery(url: str) -> None:
    Store.open(url).close()
    code = (
        "import sys; from orchestrator.store import Store; Store.open(sys.argv[1]).close()\n"
        "print(*(name for name in ('alembic', 'mako', 'torch', 'ray', 'numpy')"
        " if name in sys.modules))"
    )
    done = run_python(code, url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
