"""SIGKILL of the process that owns the store, in a migration and in its transactions."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine, text

from orchestrator.store import Store
from orchestrator.store.migrate import config, revisions
from tests.campaign.children import kill_at
from tests.campaign.row import Row
from tests.campaign.tally import Tally
from tests.unit.store.world import START

#: a migration, and a few dozen transactions, take about so long
_MIGRATION_SECONDS = 0.5
_WRITING_SECONDS = 0.3


def run(seed: int, kills: int, root: Path) -> list[Row]:
    """Half of the kills in migrations, half in transactions."""
    chance = random.Random(seed)
    migrating = Tally("SIGKILL of the daemon in a migration of the store")
    writing = Tally("SIGKILL of the daemon in a transaction of the store")
    for number in range(kills // 2):
        _migrate(root / f"old-{number}.sqlite", chance, migrating)
        _write(root / f"new-{number}.sqlite", chance, writing)
    return [migrating.row(), writing.row()]


def _migrate(path: Path, chance: random.Random, tally: Tally) -> None:
    url = f"sqlite:///{path}"
    _make_old(url)
    while not kill_at(_opening(url), chance.uniform(0.0, _MIGRATION_SECONDS)).killed:
        path.unlink()
        _make_old(url)
    tally.injected += 1
    store = Store.open(url)
    with store.transaction() as tx:
        kept = tx.counters.all() == {"old": {"steps": 7.0}}
    store.close()
    tally.wrong += not kept
    tally.recovered_after(0.0)


def _make_old(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        told = config()
        told.attributes["connection"] = connection
        command.upgrade(told, revisions()[0])
        connection.execute(text("INSERT INTO counters (run, name, value) VALUES ('old','steps',7)"))
    engine.dispose()


def _opening(url: str) -> Callable[[Callable[[str], None]], None]:
    return lambda say: Store.open(url).close()


def _write(path: Path, chance: random.Random, tally: Tally) -> None:
    url = f"sqlite:///{path}"
    Store.open(url).close()
    death = kill_at(lambda say: _count_up(url, say), chance.uniform(0.0, _WRITING_SECONDS))
    tally.injected += death.killed
    store = Store.open(url)
    with store.transaction() as tx:
        found = [entry.message for entry in tx.journal.newest(10_000)]
        steps = tx.counters.all().get("run", {}).get("steps", 0.0)
    store.close()
    # all that was acknowledged, one more at most, and both halves of each transaction
    torn = len(found) - len(death.said) not in (0, 1) or steps != len(found)
    tally.wrong += torn or not set(death.said) <= set(found)
    tally.recovered_after(0.0)


def _count_up(url: str, say: Callable[[str], None]) -> None:
    store = Store.open(url)
    number = 0
    while True:
        number += 1
        with store.transaction() as tx:
            tx.journal.write("note", f"entry {number}", START)
            tx.counters.add("run", {"steps": 1})
        say(f"entry {number}")
