"""Stories of the counters."""

from __future__ import annotations

import math
import threading

import pytest

from orchestrator.store import Store
from tests.unit.store.world import run_python


def totals(store: Store) -> dict[str, dict[str, float]]:
    with store.transaction() as tx:
        return tx.counters.all()


def test_totals_go_on_where_they_were_after_a_restart(url: str) -> None:
    store = Store.open(url)
    with store.transaction() as tx:
        tx.counters.add("a", {"energy_joules": 1.5, "restarts": 1})
        tx.counters.add("a", {"energy_joules": 2.0})
        tx.counters.add("b", {"restarts": 0})
        assert tx.counters.all()["a"]["energy_joules"] == 3.5
    store.close()
    store = Store.open(url)
    assert totals(store) == {"a": {"energy_joules": 3.5, "restarts": 1}, "b": {"restarts": 0}}
    with store.transaction() as tx:
        tx.counters.add("a", {"restarts": 1})
    assert totals(store)["a"]["restarts"] == 2
    store.close()


@pytest.mark.parametrize("wrong", [-1e-9, math.nan, math.inf, -math.inf])
def test_counter_never_falls_and_a_wrong_delta_changes_none(store: Store, wrong: float) -> None:
    with store.transaction() as tx:
        tx.counters.add("a", {"good": 1.0})
        with pytest.raises(ValueError, match="counter bad of a"):
            tx.counters.add("a", {"good": 1.0, "bad": wrong})
    assert totals(store) == {"a": {"good": 1.0}}


def test_threads_adding_at_once_lose_nothing(store: Store) -> None:
    def add() -> None:
        for _ in range(20):
            with store.transaction() as tx:
                tx.counters.all()
                tx.counters.add("a", {"steps": 1})

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals(store) == {"a": {"steps": 60}}


def test_increment_by_another_process_is_not_overwritten(url: str) -> None:
    store = Store.open(url)
    with store.transaction() as tx:
        tx.counters.add("a", {"steps": 1})
    other = (
        "import sys; from orchestrator.store import Store; store = Store.open(sys.argv[1])\n"
        "with store.transaction() as tx: tx.counters.add('a', {'steps': 10})\n"
        "store.close()"
    )
    assert totals(store) == {"a": {"steps": 1}}
    assert run_python(other, url).returncode == 0
    with store.transaction() as tx:
        tx.counters.add("a", {"steps": 100})
        assert tx.counters.all() == {"a": {"steps": 111}}
    store.close()
