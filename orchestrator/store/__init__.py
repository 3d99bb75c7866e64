"""The store: what must survive every restart, on SQLite or PostgreSQL.

store        Store: open, one atomic transaction at a time, backup, close
tables       the schema
runs, attempts, checkpoints, holds, journal, counters, samples, prices, heartbeat, goals: one
             noun each
sqlite, postgres   what each database needs to keep an acknowledged transaction
migrate      from any older schema to this one
"""

from orchestrator.store.counters import OWNER
from orchestrator.store.errors import StoreDamaged, StoreFailed
from orchestrator.store.store import Store, Transaction

__all__ = ["OWNER", "Store", "StoreDamaged", "StoreFailed", "Transaction"]
