"""The roster: what of the store must outlive the store, in one small file beside it.

Every run with its spec, state and goal, the holds that somebody asked for, and the marks by which
the store and its backups are known again. The store is the truth; the roster is read only when the
store is damaged, gone or another one's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import xxhash

from orchestrator.domain import Effect, Hold, Reason, Run, RunState, to_json
from orchestrator.piloting.goals import GoalKind, RunGoal
from orchestrator.store import Store

log = logging.getLogger(__name__)

_FORMAT = 1
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Fingerprint:
    """A file as it was left. With the same size and time, other bytes are damage."""

    size_bytes: int
    changed_ns: int
    xxh3_128: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """Reads the whole file; raises OSError."""
        hasher = xxhash.xxh3_128()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
            status = os.fstat(file.fileno())
        return cls(status.st_size, status.st_mtime_ns, hasher.hexdigest())

    def contradicts(self, path: Path) -> bool:
        """Whether the bytes of ``path`` changed though nobody wrote; raises OSError."""
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) != (self.size_bytes, self.changed_ns):
            return False
        return Fingerprint.of(path).xxh3_128 != self.xxh3_128


@dataclass(frozen=True)
class Roster:
    """What the file holds."""

    #: the number that the store was given when it was made
    store: int = 0
    #: the newest entry of the journal when this was written
    journal: int = 0
    runs: tuple[Run, ...] = ()
    holds: tuple[Hold, ...] = ()
    #: what the plans of the runs that are not over are for
    goals: tuple[RunGoal, ...] = ()
    #: of the store at its last orderly end, and of its backups, by file name
    files: dict[str, Fingerprint] = field(default_factory=dict)


def read(path: Path) -> Roster | None:
    """The roster in ``path``; None when there is none, or when it is not whole."""
    try:
        head, _, body = path.read_text(encoding="utf-8").partition("\n")
        if head != _sum(body):
            log.warning("%s is damaged and not used", path)
            return None
        return _from_plain(json.loads(body))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s cannot be used: %r", path, error)
        return None


class RosterKeeper:
    """Keeps the file what the store is."""

    def __init__(self, store: Store, path: Path, identity: int) -> None:
        self._store = store
        self._path = path
        self._lock = threading.Lock()
        earlier = read(path)
        known = earlier is not None and earlier.store == identity
        self._written = earlier if earlier and known else Roster(identity)

    def keep(self, now: datetime) -> None:
        """Write it anew if the journal, a run or a hold says something new.

        A disk that takes nothing is logged and harms nobody: the store has it all.
        """
        with self._lock:
            with self._store.transaction() as tx:
                runs, holds = tuple(tx.runs.all()), tuple(tx.holds.active(now))
                goals = [tx.goals.of(run.name) for run in runs if run.finished is None]
                newest = tx.journal.newest(1)
            fresh = dataclasses.replace(
                self._written,
                journal=newest[-1].id if newest else 0,
                runs=runs,
                holds=holds,
                goals=tuple(goal for goal in goals if goal is not None),
            )
            if fresh != self._written:
                self._write(fresh)

    def remember(self, path: Path) -> None:
        """Take the fingerprint of a file that was just written."""
        with self._lock, contextlib.suppress(OSError):
            files = {**self._written.files, path.name: Fingerprint.of(path)}
            self._write(dataclasses.replace(self._written, files=files))

    def _write(self, roster: Roster) -> None:
        try:
            write(self._path, roster)
        except OSError as error:
            log.warning("the roster %s could not be written: %s", self._path, error)
        else:
            self._written = roster


def write(path: Path, roster: Roster) -> None:
    """Replace the file in one instant. Raises OSError; the old one stands."""
    body = json.dumps({"format": _FORMAT, **to_json(roster)}, indent=1)
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, no path
        file.write(f"{_sum(body)}\n{body}")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _from_plain(plain: dict[str, Any]) -> Roster:
    return Roster(
        store=int(plain["store"]),
        journal=int(plain["journal"]),
        runs=tuple(_run(item) for item in plain["runs"]),
        holds=tuple(_hold(item) for item in plain["holds"]),
        # an older homerun wrote none
        goals=tuple(_goal(item) for item in plain.get("goals", ())),
        files={name: Fingerprint(**item) for name, item in plain["files"].items()},
    )


def _run(plain: dict[str, Any]) -> Run:
    times = {key: _time(plain[key]) for key in ("created", "finished")}
    return Run(**{**plain, **times, "state": RunState(plain["state"])})


def _hold(plain: dict[str, Any]) -> Hold:
    times = {key: _time(plain[key]) for key in ("since", "until")}
    kinds = {"reason": Reason(plain["reason"]), "effect": Effect(plain["effect"])}
    return Hold(**{**plain, **times, **kinds})


def _goal(plain: dict[str, Any]) -> RunGoal:
    times = {key: _time(plain[key]) for key in ("since", "deadline")}
    money = None if plain["money"] is None else Decimal(str(plain["money"]))
    return RunGoal(**{**plain, **times, "kind": GoalKind(plain["kind"]), "money": money})


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
