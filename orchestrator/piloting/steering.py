"""What daemon and simulator do around each tick, in one place so that both do the same."""

from __future__ import annotations

from orchestrator.domain import Snapshot
from orchestrator.home.limiter import Limiter
from orchestrator.store import Store


def follow(limiter: Limiter, snapshot: Snapshot) -> str:
    """After a tick the card follows the setpoint. News in words, mostly none: ""."""
    return limiter.apply(snapshot.setpoint.cap_watts)


def outage_hours(store: Store, run: str) -> float:
    """What outages took from a run, as the store remembers it over deaths of the daemon."""
    with store.transaction() as tx:
        return tx.counters.all().get(run, {}).get("outage_seconds", 0.0) / 3600.0
