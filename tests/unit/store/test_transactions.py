"""Stories of transactions: all or nothing, many threads, kill -9, a full disk."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.errors import Refused
from orchestrator.home.clock import SystemClock
from orchestrator.store import Store, StoreFailed
from tests.unit.store.world import START, python, run_python, submit

_WRITES_UNTIL_IT_FALLS = """
import sys
from datetime import UTC, datetime
from orchestrator.store import Store, StoreFailed

START = datetime(2026, 12, 1, tzinfo=UTC)

def write(url, text=""):
    store = Store.open(url)
    number = 0
    while True:
        number += 1
        with store.transaction() as tx:
            tx.counters.add("a", {"ticks": 1})
            tx.journal.write("tick", f"{number} {text}", START)
        print(number, flush=True)
"""
_UNTIL_KILLED = _WRITES_UNTIL_IT_FALLS + "write(sys.argv[1])"
_UNTIL_THE_DISK_IS_FULL = (
    _WRITES_UNTIL_IT_FALLS
    + """
import resource
Store.open(sys.argv[1]).close()
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
try:
    write(sys.argv[1], "x" * 20_000)
except StoreFailed as error:
    sys.exit(f"StoreFailed: {error}")
"""
)


def messages(store: Store) -> list[str]:
    with store.transaction() as tx:
        return [entry.message.split(" ")[0] for entry in tx.journal.after(0, 1_000_000)]


def ticks(store: Store) -> float:
    with store.transaction() as tx:
        return tx.counters.all().get("a", {}).get("ticks", 0.0)


def write(store: Store, message: str) -> None:
    """Two things that belong together."""
    with store.transaction() as tx:
        tx.counters.add("a", {"ticks": 1})
        tx.journal.write("tick", message, START)


def write_and_raise(store: Store, error: BaseException) -> None:
    with store.transaction() as tx:
        tx.counters.add("a", {"ticks": 1})
        tx.journal.write("tick", "1", START)
        raise error


def in_threads(*bodies: Callable[[], None]) -> None:
    """Run all at once; the first error of any is raised here."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def test_block_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyError):
        write_and_raise(store, KeyError())
    assert messages(store) == []
    assert ticks(store) == 0


def test_interrupted_block_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(store, KeyboardInterrupt())
    assert messages(store) == []
    assert ticks(store) == 0


def test_kill_9_loses_no_acknowledged_transaction_and_leaves_no_half_one(url: str) -> None:
    with subprocess.Popen(python(_UNTIL_KILLED, url), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(40):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = [40, *map(int, process.stdout.read().split())][-1]
    store = Store.open(url)
    written = messages(store)
    assert written == [str(number + 1) for number in range(len(written))]
    assert acknowledged <= len(written) <= acknowledged + 1
    assert ticks(store) == len(written)
    store.close()


def test_threads_writing_at_once_lose_nothing(store: Store) -> None:
    def writer(name: str) -> Callable[[], None]:
        def write_all() -> None:
            for number in range(25):
                write(store, f"{name}{number}")

        return write_all

    in_threads(*(writer(name) for name in "abc"))
    assert sorted(messages(store)) == sorted(f"{name}{n}" for name in "abc" for n in range(25))
    assert ticks(store) == 75


def test_follower_sees_every_entry_of_two_writers_in_order(store: Store) -> None:
    seen: list[int] = []

    def write_pairs() -> None:
        for _ in range(40):
            with store.transaction() as tx:
                tx.journal.write("tick", "", START)
                tx.journal.write("tock", "", START)

    def follow() -> None:
        clock = SystemClock()
        deadline = clock.monotonic() + 50
        while len(seen) < 160 and clock.monotonic() < deadline:
            with store.transaction() as tx:
                seen.extend(entry.id for entry in tx.journal.after(seen[-1] if seen else 0, 1000))

    in_threads(write_pairs, write_pairs, follow)
    assert len(seen) == 160
    assert seen == sorted(set(seen))


def test_numbers_drawn_by_two_threads_are_never_the_same(store: Store) -> None:
    names = [f"run-{number}" for number in range(12)]
    refused: list[str] = []

    def submit_all() -> None:
        for name in names:
            try:
                submit(store, name)
            except Refused:
                refused.append(name)

    in_threads(submit_all, submit_all)
    with store.transaction() as tx:
        assert sorted(run.name for run in tx.runs.all()) == sorted(names)
    assert sorted(refused) == sorted(names)


def test_nested_transaction_fails_at_once_instead_of_waiting_for_itself(store: Store) -> None:
    with store.transaction() as tx:
        tx.journal.write("outer", "outer", START)
        with pytest.raises(RuntimeError, match="in a transaction already"), store.transaction():
            pytest.fail("entered")
        with pytest.raises(RuntimeError, match="inside a transaction"):
            store.close()
    assert messages(store) == ["outer"]


def test_full_disk_fails_the_whole_transaction_and_the_next_one_works(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/homerun.db")

    def limit_pages(pages: int) -> None:
        with closing(store.engine.raw_connection()) as connection:
            connection.cursor().execute(f"PRAGMA max_page_count = {pages}").close()

    limit_pages(1)
    with pytest.raises(StoreFailed, match="full") as error:
        write(store, "x" * 1_000_000)
    assert "df" in error.value.fix
    assert ticks(store) == 0
    limit_pages(1_000_000)
    write(store, "small")
    assert (ticks(store), messages(store)) == (1, ["small"])
    store.close()


def test_disk_that_stops_taking_bytes_loses_no_acknowledged_transaction(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/homerun.db"
    done = run_python(_UNTIL_THE_DISK_IS_FULL, url)
    assert done.returncode == 1
    assert done.stderr.startswith("StoreFailed: the store")
    acknowledged = done.stdout.split()
    assert len(acknowledged) >= 5
    store = Store.open(url)
    assert messages(store) == acknowledged
    assert ticks(store) == len(acknowledged)
    store.close()


def test_closing_waits_for_a_transaction_of_another_thread(store: Store) -> None:
    inside, order = threading.Event(), list[str]()

    def commit_late() -> None:
        with store.transaction() as tx:
            tx.journal.write("tick", "last", START)
            inside.set()
            while not refused():
                pass
        order.append("committed")

    def refused() -> bool:
        # a third thread finds the door shut once closing has begun
        answers: list[bool] = []

        def knock() -> None:
            try:
                with store.transaction():
                    answers.append(False)
            except StoreFailed:
                answers.append(True)

        in_threads(knock)
        return answers[0]

    def close() -> None:
        assert inside.wait(30)
        store.close()
        order.append("closed")

    in_threads(commit_late, close)
    assert order == ["committed", "closed"]


def test_closed_store_answers_that_it_is_closed(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreFailed, match="is closed"), store.transaction():
        pytest.fail("entered")


def test_backup_in_the_middle_of_the_day_is_a_whole_store(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/homerun.db")
    run = submit(store, "a")
    backup = tmp_path / "daily.db"
    backup.write_bytes(b"yesterday's")
    (tmp_path / ".daily.db.part").write_bytes(b"left by a crash")
    store.backup(backup)
    submit(store, "b")
    store.close()
    assert backup.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / ".daily.db.part").exists()
    restored = Store.open(f"sqlite:///{backup}")
    with restored.transaction() as tx:
        assert tx.runs.all() == [run]
    restored.close()


def test_failed_backup_leaves_yesterdays(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/homerun.db")
    with pytest.raises(StoreFailed, match="could not be written"):
        store.backup(tmp_path / "missing" / "daily.db")
    backup = tmp_path / "daily.db"
    backup.mkdir()
    with pytest.raises(StoreFailed, match="could not be written"):
        store.backup(backup)
    assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name) == []
    submit(store, "a")
    store.close()


def test_backup_onto_the_store_itself_is_refused(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/homerun.db")
    submit(store, "a")
    with pytest.raises(Refused, match="is the store itself"):
        store.backup(tmp_path / "." / "homerun.db")
    with store.transaction() as tx:
        assert len(tx.runs.all()) == 1
    store.close()


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_backup_of_postgresql_is_left_to_its_own_tools(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="pg_dump"):
        store.backup(tmp_path / "daily.db")


def test_store_locked_by_another_program_fails_in_words(tmp_path: Path) -> None:
    path = tmp_path / "homerun.db"
    store = Store.open(f"sqlite:///{path}")
    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA busy_timeout = 10").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="locked"):
            submit(store, "a")
        other.execute("ROLLBACK")
    submit(store, "a")
    store.close()
