"""Stories of the heartbeat."""

from __future__ import annotations

from orchestrator.store import Store
from tests.unit.store.world import START, later


def test_last_beat_is_found_after_a_reboot(url: str) -> None:
    store = Store.open(url)
    with store.transaction() as tx:
        assert tx.heartbeat.last() is None
        assert tx.heartbeat.last_uptime() is None
        tx.heartbeat.beat(START, "boot-1")
        assert tx.heartbeat.last() == (START, "boot-1")
        assert tx.heartbeat.last_uptime() is None
    with store.transaction() as tx:
        tx.heartbeat.beat(later(5), "boot-2", 86_400.25)
    store.close()
    store = Store.open(url)
    with store.transaction() as tx:
        assert tx.heartbeat.last() == (later(5), "boot-2")
        assert tx.heartbeat.last_uptime() == 86_400.25
    store.close()
