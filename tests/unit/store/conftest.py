"""Each test of the store runs on SQLite and on PostgreSQL; others have a home to damage."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.postgres import PostgresServer, find_binaries
from tests.unit.store.home import Home

_DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; without PostgreSQL's binaries a loud skip, and a failure under CI."""
    binaries = find_binaries()
    if binaries is None:
        missing = "PostgreSQL is not installed (apt install postgresql)"
        if os.environ.get("CI"):
            pytest.fail(f"{missing}, and CI must not skip half of the store's tests")
        pytest.skip(f"{missing}: HALF OF THE STORE'S TESTS DID NOT RUN")
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class Databases:
    """Two databases on the server: one without tables, one with empty tables."""

    bare: str
    migrated: str


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer) -> Databases:
    """Made once and emptied before each test, for a new database takes far longer."""
    made = Databases(postgres.create_database(), postgres.create_database())
    Store.open(made.migrated).close()
    return made


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with empty tables, to be copied."""
    path = tmp_path_factory.mktemp("store") / "homerun.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=_DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/homerun.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    databases: Databases = request.getfixturevalue("databases")
    server.remove_everything(databases.bare)
    return databases.bare


@pytest.fixture(params=_DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store with nothing in it."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "homerun.db")
        store = Store.open(f"sqlite:///{tmp_path}/homerun.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        databases: Databases = request.getfixturevalue("databases")
        server.remove_rows(databases.migrated, keep="alembic_version")
        store = Store.open(databases.migrated)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of them, made once and copied: each is a homerun of its own."""
    made = [tmp_path_factory.mktemp("homes") / name for name in ("mine", "theirs")]
    for path in made:
        Home(path).fill()
    return made


@pytest.fixture
def home(homes: list[Path], tmp_path: Path) -> Home:
    for path, name in zip(homes, ("state", "other"), strict=True):
        shutil.copytree(path, tmp_path / name)
    return Home(tmp_path / "state")
