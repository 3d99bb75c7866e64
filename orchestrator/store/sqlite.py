"""What SQLite needs so that an acknowledged transaction is never lost.

WAL with synchronous=FULL survived every simulated and real power cut that we made; WAL with
NORMAL, which many recommend, lost acknowledged transactions in most of them.
"""

from __future__ import annotations

import os
import sqlite3
import urllib.parse
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import Misconfigured, Refused
from orchestrator.store.durable import sync
from orchestrator.store.errors import StoreDamaged, StoreFailed

BUSY_TIMEOUT_SECONDS = 30
#: somebody else's reader must not hold up the end
_CLOSE_TIMEOUT_SECONDS = 1
_FIX = "give homerun a directory on a local disk that it may write to (daemon.state_dir, store.url)"


def open_engine(path: Path) -> Engine:
    """An engine on the checked file, made if it is not there.

    Raises:
        Misconfigured: the file or its directory cannot be written.
        StoreDamaged: it is no whole database; not a byte of it is changed.
    """
    _prepare(path)
    _check(path)
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def is_damage(error: BaseException | None) -> bool:
    """Whether SQLite says that the file is not a whole database."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def close(engine: Engine) -> None:
    """Move what is in the write-ahead log into the file, and close every connection."""
    # a log that cannot be moved, on a full disk, is as durable where it is: the next start reads it
    with (
        suppress(sqlite3.Error, DBAPIError),
        closing(engine.raw_connection()) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute(f"PRAGMA busy_timeout = {_CLOSE_TIMEOUT_SECONDS * 1000}")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def backup(engine: Engine, path: Path) -> None:
    """Write a whole, compact copy to ``path``, which appears or is replaced in one instant.

    Raises:
        Refused: ``path`` is the store itself.
        StoreFailed: it could not be written; an older backup at ``path`` is untouched.
        StoreDamaged: the store turned out not to be whole; the same.
    """
    place = Path(engine.url.database or "")
    if path.resolve() == place.resolve():
        raise Refused(f"{path} is the store itself", "give the backup a path of its own")
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        _create_private(part)
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("VACUUM INTO ?", (str(part),)).close()
        sync(part)
        part.replace(path)
        sync(path.parent)
    except (OSError, sqlite3.Error) as error:
        # what is left of it goes now or at the next backup; the error that led here is to be told
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if is_damage(error):
            raise StoreDamaged.at(str(place), str(error)) from error
        raise StoreFailed(
            f"the backup {path} could not be written: {error}",
            "the store itself is untouched; free some space there, or back up to another disk",
        ) from error


def _prepare(path: Path) -> None:
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create_private(path)
            sync(directory)
        with path.open("r+b") as file:
            os.fchmod(file.fileno(), 0o600)
    except OSError as error:
        raise Misconfigured(f"the store {path} cannot be opened: {error}", _FIX) from error
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        problem = f"{directory} is not writable, and the write-ahead log belongs beside the file"
        raise Misconfigured(f"the store {path} cannot be opened: {problem}", _FIX)


def _check(path: Path) -> None:
    try:
        # read-only, so that looking at a damaged file cannot change it
        found = _problems(path, "ro")
    except sqlite3.Error as error:
        if is_damage(error) or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_READ:
            raise StoreDamaged.at(str(path), str(error)) from error
        raise Misconfigured(f"the store {path} cannot be opened: {error}", _FIX) from error
    if found != ["ok"]:
        raise StoreDamaged.at(str(path), "; ".join(found))


def _problems(path: Path, mode: str) -> list[str]:
    uri = f"file:{urllib.parse.quote(str(path.absolute()))}?mode={mode}"
    # a log that an orderly end would have taken away might be another database's: whether tables
    # and indexes still fit together is asked as well then
    log = path.with_name(f"{path.name}-wal")
    unclean = log.exists() and log.stat().st_size > 0
    look = "integrity_check(3)" if unclean else "quick_check(3)"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as connection:
            return [row[0] for row in connection.execute(f"PRAGMA {look}")]
    except sqlite3.OperationalError as error:
        # the power failed while the very first start made the file: what it began is taken back,
        # and that alone needs a writer
        if mode == "ro" and error.sqlite_errorcode == sqlite3.SQLITE_READONLY_ROLLBACK:
            return _problems(path, "rw")
        raise


def _set_up(connection: Any, record: Any) -> None:
    # the driver must not begin transactions by itself: it would leave schema changes outside
    connection.isolation_level = None
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
        mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
    if mode != "wal":
        raise Misconfigured(f"the file system of the store takes no write-ahead log: {mode}", _FIX)


def _begin(connection: Connection) -> None:
    # a transaction that begins as a reader cannot wait to become a writer: it fails at once
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create_private(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
