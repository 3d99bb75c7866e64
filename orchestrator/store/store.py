"""The store: opened once by the daemon, used from all of its threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from orchestrator.errors import HomerunError, Misconfigured, Refused
from orchestrator.store import postgres, sqlite
from orchestrator.store.anchor import Anchor
from orchestrator.store.attempts import Attempts
from orchestrator.store.checkpoints import Checkpoints
from orchestrator.store.counters import Counters
from orchestrator.store.errors import StoreDamaged, StoreFailed
from orchestrator.store.goals import Goals
from orchestrator.store.heartbeat import Heartbeat
from orchestrator.store.holds import Holds
from orchestrator.store.journal import Journal
from orchestrator.store.ledger import Ledger
from orchestrator.store.migrate import migrate
from orchestrator.store.prices import Prices
from orchestrator.store.runs import Runs
from orchestrator.store.samples import Samples

_CLOSE_TIMEOUT_SECONDS = 30


class Transaction:
    """Everything in the store at one instant; all that is done through it happens, or nothing."""

    def __init__(self, session: Session) -> None:
        self.runs = Runs(session)
        self.attempts = Attempts(session)
        self.checkpoints = Checkpoints(session)
        self.holds = Holds(session)
        self.journal = Journal(session)
        self.counters = Counters(session)
        self.samples = Samples(session)
        self.prices = Prices(session)
        self.ledger = Ledger(session)
        self.goals = Goals(session)
        self.heartbeat = Heartbeat(session)


class Store:
    """One database. Transactions run one after the other, in whatever threads they begin."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.place = _place(engine.url)
        self._mine = threading.local()
        self._idle = threading.Condition()
        self._running = 0
        self._closed = False
        self._anchor: Anchor | None = None
        self._news: list[str] = []

    @classmethod
    def open(cls, url: str) -> Store:
        """Open ``sqlite:///PATH`` or ``postgresql://...``: check it, create or migrate the tables.

        Raises:
            Misconfigured: it cannot be opened or written, is not homerun's, or is a newer one's.
            StoreDamaged: it is not whole; nothing in it was changed.
            StoreFailed: the disk is full, or the database failed in the middle.
        """
        engine = _engine(url)
        store = cls(engine)
        try:
            with store._translated():
                migrate(engine)
                store._cast_anchor()
        except BaseException:
            engine.dispose()
            raise
        return store

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing: durable when the block has ended, undone when it raised.

        Keep it short, for all others wait. It cannot be nested in one thread: RuntimeError.

        Raises:
            StoreFailed: nothing of it happened: disk full, I/O error, database gone, store closed.
            StoreDamaged: the database turned out not to be whole.
        """
        with (
            self._entered(),
            self._translated(),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield Transaction(session)

    def backup(self, path: Path) -> None:
        """Copy the whole store to ``path`` (SQLite), atomically, while it is in use.

        Raises:
            StoreFailed: it could not be written; an older backup there is untouched.
            Refused: the store is on PostgreSQL, which has tools of its own for this.
        """
        if self.engine.dialect.name != "sqlite":
            raise Refused(f"the store {self.place} is not a file", "back it up by pg_dump")
        with self._entered(), self._translated():
            sqlite.backup(self.engine, path)

    def news(self) -> list[str]:
        """What the store had to do by itself since this was asked last, one sentence each."""
        with self._idle:
            told, self._news = self._news, []
        return told

    def close(self) -> None:
        """Wait for the transactions of other threads, refuse new ones, close every connection."""
        if getattr(self._mine, "inside", False):
            raise RuntimeError("the store cannot be closed from inside a transaction")
        with self._idle:
            if self._closed:
                return
            self._closed = True
            self._idle.wait_for(lambda: not self._running, _CLOSE_TIMEOUT_SECONDS)
        if self.engine.dialect.name == "sqlite":
            self._rescue_at_the_end()
            if self._anchor is not None:
                self._anchor.close()
            sqlite.close(self.engine)
        else:
            self.engine.dispose()

    def _cast_anchor(self) -> None:
        if self.engine.dialect.name == "sqlite":
            try:
                self._anchor = Anchor(Path(self.place))
            except (OSError, sqlite3.Error) as error:
                raise StoreFailed(
                    f"the store {self.place} cannot be read: {error}",
                    "look for a full or failing disk (df, dmesg)",
                ) from error

    def _rescue(self) -> None:
        """With the lock: if the file was taken away, write it anew before anything else happens."""
        if self._anchor is None or not self._anchor.problem():
            return
        self._idle.wait_for(lambda: not self._running, _CLOSE_TIMEOUT_SECONDS)
        if self._running or not (problem := self._anchor.problem()):
            return
        aside = self._anchor.rescue()
        self._anchor.close()
        self.engine.dispose()
        # the next connection brings the write-ahead mode, and needs no anchor before it
        self.engine.raw_connection().close()
        self._cast_anchor()
        kept = f"; what lay there is in {aside}" if aside else ""
        self._news.append(
            f"The store {self.place} {problem} while homerun ran; nothing of it is lost: it was "
            f"written anew{kept}."
        )

    def _rescue_at_the_end(self) -> None:
        with self._idle, suppress(StoreFailed):
            self._rescue()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        if getattr(self._mine, "inside", False):
            raise RuntimeError("this thread is in a transaction already and would wait for itself")
        with self._idle:
            if self._closed:
                raise StoreFailed(f"the store {self.place} is closed", "start homerun again")
            self._rescue()
            self._running += 1
        self._mine.inside = True
        try:
            yield
        finally:
            self._mine.inside = False
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError) as error:
            meant = _meaning(error, self.place)
            if meant is None:
                raise
            raise meant from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Misconfigured(f"store.url is no database URL: {url!r}", _URLS) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return postgres.open_engine(parsed.set(drivername="postgresql+psycopg"))
    if backend != "sqlite":
        raise Misconfigured(f"store.url names a database not known here: {backend}", _URLS)
    path = parsed.database
    if not path or path == ":memory:" or path.startswith("file:"):
        raise Misconfigured("store.url names no file: the store has to survive", _URLS)
    return sqlite.open_engine(Path(path))


_URLS = "use sqlite:////absolute/path/homerun.db or postgresql://user@host/database"


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def _meaning(error: DBAPIError | PoolTimeoutError, place: str) -> HomerunError | None:
    """What a database error means to a person; None for a mistake of ours."""
    if isinstance(error, PoolTimeoutError):
        return StoreFailed(f"the store {place} is too busy: {error}", "try again")
    if sqlite.is_damage(error.orig):
        return StoreDamaged.at(place, str(error.orig))
    if isinstance(error, OperationalError | InterfaceError):
        return StoreFailed(
            f"the store {place} failed: {error.orig}; nothing of the transaction happened",
            "look for a full or failing disk (df, dmesg), or a database server that is down",
        )
    return None
