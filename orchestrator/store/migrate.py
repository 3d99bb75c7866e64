"""From whatever schema a database has to the one of this homerun.

A migration is one file in ``migrations/versions``, named after its revision; the highest name
is the newest. All that are missing run in one transaction, on both databases: a daemon killed
in the middle leaves the old schema, and the next start begins again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from orchestrator.errors import Misconfigured

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine, scripts: Path = MIGRATIONS) -> None:
    """Create the tables, or bring them up to date; do nothing when they are.

    Raises:
        Misconfigured: a newer homerun wrote the database, or it is not homerun's at all.
    """
    known = revisions(scripts)
    with engine.begin() as connection:
        current = _revision(connection)
        if current == known[-1]:
            return
        place = engine.url.render_as_string(hide_password=True)
        if current is None:
            _require_empty(connection, place)
        elif current not in known:
            raise Misconfigured(
                f"the store {place} was written by a newer homerun (schema {current}, "
                f"known here up to {known[-1]})",
                "install that version again, or restore the backup from before its first start",
            )
        _upgrade(connection, scripts)


def revisions(scripts: Path = MIGRATIONS) -> list[str]:
    """The revisions known here, oldest first, without loading alembic or any of them."""
    return sorted(path.name.split("_")[0] for path in (scripts / "versions").glob("[0-9]*_*.py"))


def config(scripts: Path = MIGRATIONS) -> Config:
    """What alembic is told instead of an alembic.ini."""
    # half the daemon's start and a fifth of its memory: only when there is something to migrate
    from alembic.config import Config

    told = Config()
    told.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return told


def _upgrade(connection: Connection, scripts: Path) -> None:
    from alembic import command

    told = config(scripts)
    told.attributes["connection"] = connection
    command.upgrade(told, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _require_empty(connection: Connection, place: str) -> None:
    tables = sorted(inspect(connection).get_table_names())
    if tables:
        raise Misconfigured(
            f"{place} is a database, but not homerun's: it holds {', '.join(tables[:3])}",
            "give homerun a database of its own (store.url)",
        )
