"""What PostgreSQL needs to behave as the embedded store does."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from orchestrator.errors import Misconfigured

LOCK_TIMEOUT_SECONDS = 30
#: "homerun" in ASCII: one lock in each database
_LOCK = int.from_bytes(b"homerun", "big")


def open_engine(url: URL) -> Engine:
    """An engine on a database that answers and keeps text as UTF-8.

    Raises:
        Misconfigured: no driver, no answer, or another encoding.
    """
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args={"client_encoding": "UTF8"})
    except ModuleNotFoundError as error:
        raise Misconfigured(
            "the store is on PostgreSQL and its driver is not installed",
            "pip install 'homerun[postgres]'",
        ) from error
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    try:
        _check(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check(engine: Engine) -> None:
    place = engine.url.render_as_string(hide_password=True)
    try:
        with engine.connect() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    except OperationalError as error:
        raise Misconfigured(
            f"the store {place} cannot be reached: {error.orig}",
            "start PostgreSQL, create the database, or correct store.url",
        ) from error
    if encoding != "UTF8":
        raise Misconfigured(
            f"the database {place} keeps text as {encoding}",
            "create it anew: createdb --encoding=UTF8 --template=template0 NAME",
        )


def _set_up(connection: Any, record: Any) -> None:
    with closing(connection.cursor()) as cursor:
        # whatever the server's default: acknowledged means durable
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    connection.commit()


def _begin(connection: Connection) -> None:
    # one transaction after the other, as on SQLite: without it journal ids become visible out of
    # order, and a reader that goes on after the last id it saw misses entries
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
