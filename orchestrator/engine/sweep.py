"""Which processes belong to an engine, and how to be rid of all of them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.engine import process
from orchestrator.engine.process import Identity, Stat
from orchestrator.home.clock import Clock

#: environment variable that every process of an engine inherits: <hash of state dir>-<engine>
MARKER = "HOMERUN_ENGINE"
_ROUND_SECONDS = 1.0

Spare = Callable[[], Collection[Identity]]


def new_engine_id(state_dir: Path) -> str:
    """A name for one engine process and all that it starts; begins with the state's hash."""
    return f"{process.state_hash(state_dir)}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Mark:
    """How to tell the processes of one engine, or of all engines of one state directory.

    One criterion alone can fail (a process may overwrite its environment, start a session of
    its own or be handed to another parent), so any of them counts.
    """

    #: what the environment variable begins with
    prefix: str
    #: the host, while its pid cannot be reused (it lives, or is our unreaped child)
    session_leader: Identity | None = None
    known: frozenset[Identity] = field(default_factory=frozenset)

    def members(self) -> dict[int, Stat]:
        """The processes that belong, zombies included, by pid.

        This process and its ancestors are never among them.
        """
        table = process.all_processes()
        spared = _ancestry(table)
        mine = {pid for pid, found in table.items() if self._claims(found)}
        mine |= process.descendants(mine - spared, table)
        return {pid: table[pid] for pid in mine - spared}

    def _claims(self, found: Stat) -> bool:
        if found.identity in self.known:
            return True
        leader = self.session_leader
        if leader and found.session == leader.pid and found.start_ticks >= leader.start_ticks:
            return True
        marker = process.environment_value(found.pid, MARKER)
        return marker is not None and marker.startswith(self.prefix)


def _ancestry(table: dict[int, Stat]) -> set[int]:
    pids: set[int] = set()
    pid = os.getpid()
    while pid and pid not in pids:
        pids.add(pid)
        found = table.get(pid)
        pid = found.parent if found else 0
    return pids


def sweep(mark: Mark, clock: Clock, timeout_seconds: float, spare: Spare = tuple) -> set[Identity]:
    """Kill every member and wait; look again until none is left, for new ones may be born.

    Args:
        spare: asked in each round, after the look around, for those that are to live on.

    Returns:
        Those that could not be killed in time.
    """
    deadline = clock.monotonic() + timeout_seconds
    while True:
        members = mark.members()
        spared = set(spare())
        mine = [found for found in members.values() if found.identity not in spared]
        for found in mine:
            if found.dead and found.parent == os.getpid():
                process.reap(found.pid)
        alive = {found.identity for found in mine if not found.dead}
        if not alive or clock.monotonic() >= deadline:
            return alive
        process.kill_and_wait(alive, clock, _ROUND_SECONDS)


@dataclass(frozen=True)
class Record:
    """The processes of the latest engine, kept in the state directory for the next daemon."""

    path: Path

    def write(self, identities: Collection[Identity]) -> None:
        """Replace the record. It is a help for sweeping, not a truth: no fsync."""
        plain = {
            "boot": boot_id(),
            "processes": [[item.pid, item.start_ticks] for item in identities],
        }
        beside = self.path.with_suffix(".tmp")
        beside.write_text(json.dumps(plain), encoding="utf-8")
        beside.replace(self.path)

    def read(self) -> frozenset[Identity]:
        """The recorded processes; none after a reboot or when the record is unreadable."""
        try:
            plain = json.loads(self.path.read_text(encoding="utf-8"))
            if plain["boot"] != boot_id():
                return frozenset()
            return frozenset(Identity(int(pid), int(ticks)) for pid, ticks in plain["processes"])
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()


def boot_id() -> str:
    """Another one after each boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
