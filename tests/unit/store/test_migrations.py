"""Stories of the schema: it grows in whole steps, and only forwards."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from orchestrator.errors import Misconfigured
from orchestrator.store import Store
from orchestrator.store.migrate import MIGRATIONS, config, migrate, revisions
from orchestrator.store.tables import Base
from tests.unit.store.world import run_python, submit

_KILLED_WHILE_MIGRATING = """
import os, signal, sys
from sqlalchemy import Engine, event
from orchestrator.store import Store

url, moment = sys.argv[1:]
seen = 0

@event.listens_for(Engine, "before_cursor_execute")
def before_statement(connection, cursor, statement, *rest):
    global seen
    seen += statement.lstrip().startswith(("CREATE", "INSERT"))
    if str(seen) == moment:
        os.kill(os.getpid(), signal.SIGKILL)

@event.listens_for(Engine, "commit")
def before_commit(connection):
    if moment == "commit" and seen:
        os.kill(os.getpid(), signal.SIGKILL)

Store.open(url)
"""


def tables(url: str) -> list[str]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()


def test_tables_and_migrations_agree(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    assert set(tables(str(store.engine.url))) == {*Base.metadata.tables, "alembic_version"}


def test_newest_revision_is_known_without_alembic() -> None:
    scripts = ScriptDirectory.from_config(config())
    assert revisions()[-1] == scripts.get_current_head()
    assert revisions() == [script.revision for script in scripts.walk_revisions()][::-1]


@pytest.mark.parametrize("moment", ["5", "commit"])
def test_daemon_killed_in_the_middle_of_a_migration_completes_it_next_time(
    url: str, moment: str
) -> None:
    killed = run_python(_KILLED_WHILE_MIGRATING, url, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert tables(url) == []
    store = Store.open(url)
    submit(store, "a")
    store.close()


def with_next_revision(scripts: Path) -> str:
    """Copy the migrations and let alembic write one more from its template."""
    shutil.copytree(MIGRATIONS, scripts)
    path = command.revision(config(scripts), message="add a note", rev_id="9999")
    assert path is not None
    assert not isinstance(path, list)
    text = Path(path.path).read_text()
    column = "op.add_column('runs', sa.Column('note', sa.Text()))"
    assert text.count("    pass\n") == 1
    Path(path.path).write_text(text.replace("    pass\n", f"    {column}\n"))
    return path.path


def test_older_store_is_upgraded_with_everything_in_it(url: str, tmp_path: Path) -> None:
    scripts = tmp_path / "100% migrations"
    store = Store.open(url)
    run = submit(store, "a")
    with_next_revision(scripts)
    migrate(store.engine, scripts)
    with store.transaction() as tx:
        assert tx.runs.all() == [run]
    columns = {column["name"] for column in inspect(store.engine).get_columns("runs")}
    assert "note" in columns
    with pytest.raises(Misconfigured, match=rf"schema 9999, known here up to {revisions()[-1]}"):
        migrate(store.engine)
    store.close()


def test_failing_migration_changes_nothing(url: str, tmp_path: Path) -> None:
    scripts = tmp_path / "migrations"
    store = Store.open(url)
    path = Path(with_next_revision(scripts))
    path.write_text(path.read_text() + "    raise RuntimeError('half-way')\n")
    with pytest.raises(RuntimeError, match="half-way"):
        migrate(store.engine, scripts)
    columns = {column["name"] for column in inspect(store.engine).get_columns("runs")}
    assert "note" not in columns
    migrate(store.engine)
    store.close()
