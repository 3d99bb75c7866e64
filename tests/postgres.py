"""A PostgreSQL of the tests' own: Debian's binaries, a throw-away directory, a Unix socket."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from orchestrator.home.clock import SystemClock

_USER = "homerun"
_DEADLINE_SECONDS = 60.0


def find_binaries() -> Path | None:
    """The directory of initdb and postgres: that of PATH, else Debian's newest."""
    on_path = shutil.which("postgres")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((found for found in candidates if (found / "initdb").exists()), None)


class PostgresServer:
    """One server for a whole test session. It never syncs: here only its clients are killed."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # not under pytest's own directory: the path of a socket has 107 bytes at most
        self._dir = Path(tempfile.mkdtemp(prefix="homerun-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Create the cluster, start the server, wait until it answers."""
        identity = _unprivileged()
        if identity:
            shutil.chown(self._dir, identity["user"], identity["group"])
        data = str(self._dir / "data")
        with (self._dir / "log").open("wb") as log:
            common: dict[str, Any] = {
                "cwd": self._dir,
                "stdout": log,
                "stderr": subprocess.STDOUT,
                **identity,
            }
            options = ["-U", _USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
            subprocess.run([self._binaries / "initdb", "-D", data, *options], check=True, **common)
            settings = ["-clisten_addresses=", "-cfsync=off", "-cfull_page_writes=off"]
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", data, "-k", self._dir, *settings], **common
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End it at once and remove everything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_DEADLINE_SECONDS)
        shutil.rmtree(self._dir)

    def create_database(self, encoding: str = "UTF8") -> str:
        """A new, empty database; returns its URL."""
        self._databases += 1
        name = f"store_{self._databases}"
        with closing(self._connect("postgres")) as connection:
            connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return f"postgresql://{_USER}@/{name}?host={self._dir}"

    def remove_everything(self, url: str) -> None:
        """Make the database as new: much faster than a new one."""
        self._in(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def remove_rows(self, url: str, keep: str) -> None:
        """Empty all tables but ``keep`` and begin to count from 1 again."""
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            found = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> %s",
                [keep],
            ).fetchall()
        self._in(url, f"TRUNCATE {', '.join(row[0] for row in found)} RESTART IDENTITY")

    def _in(self, url: str, statements: LiteralString) -> None:
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            connection.execute(statements)

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        clock = SystemClock()
        deadline = clock.monotonic() + _DEADLINE_SECONDS
        while True:
            try:
                return self._connect("postgres").close()
            except psycopg.OperationalError:
                ended = self._process.poll() is not None
                if ended or clock.monotonic() > deadline:
                    raise RuntimeError((self._dir / "log").read_text()) from None
                clock.sleep(0.02)

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(host=str(self._dir), user=_USER, dbname=database, autocommit=True)


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then as whom, in the words of subprocess."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        group = grp.getgrgid(entry.pw_gid).gr_name
        return {"user": name, "group": group, "extra_groups": []}
    raise RuntimeError("neither a user postgres nor nobody: PostgreSQL cannot be started by root")
