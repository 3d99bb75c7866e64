"""The anchor: an embedded store whose file is taken away while it is open is written anew.

SQLite goes on in a file that was deleted, and opens whatever lies at the path for the next
connection. One connection that stays open has all that was ever acknowledged: a copy of that takes
the path again, and what was found there is set aside.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from orchestrator.store.durable import sync
from orchestrator.store.errors import StoreFailed

_COMPANIONS = ("", "-wal", "-shm", "-journal")


class Anchor:
    """Knows the file of a store by its number on the file system, and has it open."""

    def __init__(self, path: Path) -> None:
        """``path`` is a store in its write-ahead mode; raises OSError and sqlite3.Error."""
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # the write-ahead log is opened by the first look
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self._identity = _identity(path)
        self._device = path.stat().st_dev

    def problem(self) -> str:
        """What happened to the file, or an empty string."""
        try:
            found = _identity(self._path)
        except OSError:
            # a disk that fails says so with the transaction itself
            return ""
        if found == self._identity:
            return ""
        return "was deleted" if found is None else "was replaced by another file"

    def rescue(self) -> Path | None:
        """Put a whole copy at the path, durable; where what lay there is now, if anything did.

        Raises:
            StoreFailed: that could not be; everything is as it was, and may be tried again.
        """
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            if self._path.parent.stat().st_dev != self._device:
                raise OSError(errno.ENODEV, "its file system is not mounted there any more")
            part.unlink(missing_ok=True)
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            self._connection.cursor().execute("VACUUM INTO ?", (str(part),)).close()
            sync(part)
            aside = self._set_aside()
            part.replace(self._path)
            sync(self._path.parent)
        except (OSError, sqlite3.Error) as error:
            raise StoreFailed(
                f"the store {self._path} {self.problem()} and could not be written anew: {error}",
                "make room beside it; homerun goes on trying as long as it runs",
            ) from error
        return aside

    def close(self) -> None:
        """Give the file up."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _set_aside(self) -> Path | None:
        found = [
            path
            for path in (self._path.with_name(self._path.name + end) for end in _COMPANIONS)
            if path.exists()
        ]
        if not found:
            return None
        number = 1
        while (aside := self._path.with_name(f"found-store-{number}")).exists():
            number += 1
        aside.mkdir(mode=0o700)
        for path in found:
            path.rename(aside / path.name)
        return aside


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
