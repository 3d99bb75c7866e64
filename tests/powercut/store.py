"""The store under power cuts: what a real process writes, and what must be there afterwards.

Run as ``python -m tests.powercut.store DIRECTORY TRANSACTIONS SYNCHRONOUS`` from the repository's
root: it says ``mark done N`` after each transaction and ``mark backup N`` after each backup.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event

from orchestrator.errors import HomerunError
from orchestrator.store import Store
from tests.powercut.blocks import Image, disks_after_a_cut
from tests.powercut.tracing import Call, record
from trainer.contract.spec import RunSpec

NAME = "homerun.sqlite"
BACKUP = "homerun-backup.sqlite"
START = datetime(2026, 12, 1, 18, tzinfo=UTC)
#: moves the write-ahead log into the file this often, so that cuts fall into that as well
_PAGES_TO_CHECKPOINT = 12
_BACKUP_EVERY = 4


def record_store(directory: Path, transactions: int, synchronous: str = "FULL") -> list[Call]:
    """The calls of a store's first start, so many transactions, some backups, and its end."""
    directory.mkdir()
    module = ["-m", "tests.powercut.store", str(directory), str(transactions), synchronous]
    calls = record([sys.executable, *module], directory)
    # shared memory between processes, born anew by whoever opens the store first
    return [call for call in calls if not call.path.name.endswith("-shm")]


@dataclass(frozen=True)
class Finding:
    """What a start found on one disk; no problem means that all promises were kept."""

    after: str
    #: transactions that were there, of those acknowledged
    kept: int
    acknowledged: int
    problem: str


def findings(
    calls: list[Call],
    directory: Path,
    scratch: Path,
    *,
    seed: int,
    drawn: int,
    share: float = 1,
    since: int = 0,
) -> Iterator[Finding]:
    """Cut the power after each call from ``since`` on; start the real store on what is left.

    On a ``share`` of it, that is: of all disks that are possible, only so many are tried.
    """
    rng = random.Random(seed)
    disks = disks_after_a_cut(calls, directory, rng, drawn, since)
    for number, (call, marks, image) in enumerate(disks):
        if rng.random() >= share:
            continue
        where = f"{call.kind} {call.path.name}, after {marks[-1:]}, disk {number}"
        with tempfile.TemporaryDirectory(dir=scratch) as mounted:
            place = Path(mounted)
            lay_out(image, place, rng)
            acknowledged = _highest(marks, "done")
            kept, problem = look(place, acknowledged, _highest(marks, "backup"))
        yield Finding(where, kept, acknowledged, problem)


def lay_out(image: Image, place: Path, rng: random.Random) -> None:
    """Write a disk down, with what may be left of the memory that processes share."""
    for name, content in image.items():
        (place / name).write_bytes(content)
    if NAME in image and rng.random() < 0.2:
        (place / f"{NAME}-shm").write_bytes(rng.randbytes(32768))


def look(place: Path, acknowledged: int, backed_up: int) -> tuple[int, str]:
    """Start the store as a daemon does: how many transactions it has, and what is wrong."""
    try:
        kept = transactions_in(place / NAME)
    except (HomerunError, AssertionError) as error:
        return 0, f"the store: {error}"
    if kept < acknowledged:
        return kept, f"lost: {kept} transactions of {acknowledged}"
    try:
        saved = transactions_in(place / BACKUP) if (place / BACKUP).exists() else 0
    except (HomerunError, AssertionError) as error:
        return kept, f"the backup: {error}"
    if saved < backed_up:
        return kept, f"the backup has {saved} transactions of {backed_up}"
    return kept, ""


def transactions_in(path: Path) -> int:
    """How many transactions the store holds; AssertionError when one of them is half there."""
    store = Store.open(f"sqlite:///{path}")
    try:
        with store.transaction() as tx:
            entries = tx.journal.after(0, 10_000)
            names = {run.name for run in tx.runs.all()}
    finally:
        store.close()
    first = [entry.message for entry in entries if entry.kind == "first"]
    second = [entry.message for entry in entries if entry.kind == "second"]
    assert first == second == [_text(number) for number in range(1, len(first) + 1)], "half done"
    assert names == {f"run-{number}" for number in range(1, len(first) + 1)}, "half done"
    return len(first)


def _highest(marks: tuple[str, ...], word: str) -> int:
    return max((int(mark.split()[1]) for mark in marks if mark.split()[0] == word), default=0)


def _text(number: int) -> str:
    return f"{number} " + "x" * (200 * (number % 5))


# --- in the traced process ----------------------------------------------------------------


def write(directory: Path, transactions: int, synchronous: str) -> None:
    """First start, transactions, backups, end."""
    store = Store.open(f"sqlite:///{directory / NAME}")

    def adjust(connection: Any, record: Any) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA wal_autocheckpoint = {_PAGES_TO_CHECKPOINT}")
            cursor.execute(f"PRAGMA synchronous = {synchronous}")

    event.listen(store.engine, "connect", adjust)
    # as the last of all connections does; the store keeps one open
    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    store.engine.dispose()
    _mark("opened 0")
    for number in range(1, transactions + 1):
        with store.transaction() as tx:
            tx.journal.write("first", _text(number), START)
            tx.runs.add(RunSpec(name=f"run-{number}"), 0, START)
            tx.journal.write("second", _text(number), START)
        _mark(f"done {number}")
        if number % _BACKUP_EVERY == 0:
            store.backup(directory / BACKUP)
            _mark(f"backup {number}")
    store.close()
    _mark("closed 0")


def _mark(text: str) -> None:
    os.write(1, f"mark {text}\n".encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
