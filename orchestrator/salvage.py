"""What a daemon does when its embedded store is damaged, gone, or another one's.

Nothing is deleted: what was found is set aside under a name that says when. Then the newest
whole backup takes its place, or an empty store if there is none; the runs, their states and the
holds come from the roster, runs that even the roster does not know from their own directories;
the index of checkpoints is made anew from the disk by the ordinary start.
"""

from __future__ import annotations

import errno
import json
import logging
import secrets
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator import roster as rosters
from orchestrator.domain import Effect, Hold, Reason, RunState
from orchestrator.errors import Refused
from orchestrator.paths import Paths
from orchestrator.roster import Roster, RosterKeeper
from orchestrator.store import Store, StoreDamaged, Transaction
from orchestrator.store.durable import sync
from orchestrator.store.runs import RunFacts
from trainer.contract import spec as run_spec
from trainer.contract.toml import InvalidFileError

log = logging.getLogger(__name__)

_NO_FAULT_OF_THE_BACKUP = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)
_COMPANIONS = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True)
class _Found:
    """A store that opened, its number, and what was told on the way."""

    store: Store
    identity: int
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opened:
    """The store, the number by which it is known again, and the roster that is kept of it."""

    store: Store
    identity: int
    roster: RosterKeeper
    #: what had to be done to get it, one sentence each; empty on any ordinary day
    told: tuple[str, ...] = ()


def open_store(paths: Paths, now: datetime) -> Opened:
    """Open the embedded store, come what may.

    Raises:
        Misconfigured: for a reason that is no damage: no permission, a newer homerun's store.
        Refused: what is damaged could not be set aside.
    """
    found = _open(paths, now)
    roster = RosterKeeper(found.store, paths.roster, found.identity)
    roster.keep(now)
    return Opened(found.store, found.identity, roster, found.told)


def _open(paths: Paths, now: datetime) -> _Found:
    known = rosters.read(paths.roster)
    opened = _try(paths, known)
    if isinstance(opened, _Found):
        return _looked_through(opened, paths, known, now)
    told = [f"The store {paths.store} {opened}."]
    last_written = _last_written(paths.store, now)
    aside = _set_aside(paths, [paths.store], opened, now)
    told += [f"What was found lies in {aside}."] if aside else []
    for backup in (paths.backup, paths.older_backup):
        if not backup.exists():
            continue
        taken = backup.stat().st_mtime
        problem = _bring_back(paths, backup, known)
        restored = problem or _try(paths, known)
        if isinstance(restored, _Found):
            age = datetime.fromtimestamp(taken, now.tzinfo)
            told.append(f"homerun goes on from its backup of {age:%F %T} UTC.")
            break
        told.append(f"The backup {backup} {restored}.")
        _set_aside(paths, [paths.store, backup], f"{restored}", now)
    else:
        told.append("There is no whole backup: the store begins anew.")
        restored = _named(Store.open(f"sqlite:///{paths.store}"), 0)
    with restored.store.transaction() as tx:
        beat = tx.heartbeat.last()
        # the store's last heartbeat is gone with it; its files tell when it was written last
        if last_written is not None and (beat is None or beat[0] < last_written):
            tx.heartbeat.beat(last_written, beat[1] if beat else "")
    return _rebuilt(restored, told, paths, known, now)


def back_up(store: Store, paths: Paths, keeper: RosterKeeper) -> None:
    """Copy the embedded store; the backup before this one stays as the older one.

    Raises StoreFailed and StoreDamaged as the store's own backup does; then both stay as they are.
    """
    fresh = paths.backup.with_name(f"{paths.backup.name}.fresh")
    store.backup(fresh)
    if paths.backup.exists():
        paths.backup.replace(paths.older_backup)
    fresh.replace(paths.backup)
    sync(paths.state)
    keeper.remember(paths.older_backup)
    keeper.remember(paths.backup)


# --- opening --------------------------------------------------------------------------------


def _try(paths: Paths, known: Roster | None) -> _Found | str:
    """The store, or what is wrong with it."""
    path = paths.store
    if not path.exists():
        if known is None and not paths.backup.exists() and not paths.older_backup.exists():
            return _named(Store.open(f"sqlite:///{path}"), 0)
        return "is missing"
    print_of = known.files.get(path.name) if known else None
    try:
        if known and known.journal and not path.stat().st_size and not _log_of(path).exists():
            return "is empty"
        if print_of and print_of.contradicts(path):
            return "is damaged: its bytes are not those that homerun wrote (checksum)"
        found = identity_of(path)
        if known and known.store and found not in (0, known.store):
            return "belongs to another homerun"
        return _named(Store.open(f"sqlite:///{path}"), known.store if known else 0)
    except StoreDamaged as error:
        return error.problem
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _last_written(path: Path, now: datetime) -> datetime | None:
    times = [file.stat().st_mtime for file in (path, _log_of(path)) if file.exists()]
    return min(datetime.fromtimestamp(max(times), now.tzinfo), now) if times else None


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def identity_of(path: Path) -> int:
    """The number of the store in ``path``; 0 for one that has none, or that cannot be read."""
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    return 0


def _named(store: Store, expected: int) -> _Found:
    """Give a store its number, if it has none yet."""
    with store.engine.begin() as connection:
        identity = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if not identity:
            identity = expected or secrets.randbelow(2**31 - 1) + 1
            connection.exec_driver_sql(f"PRAGMA user_version = {identity}")
    return _Found(store, identity)


def _set_aside(paths: Paths, files: list[Path], why: str, now: datetime) -> Path | None:
    found = [
        path.with_name(path.name + suffix)
        for path in files
        for suffix in _COMPANIONS
        if path.with_name(path.name + suffix).exists()
    ]
    if not found:
        return None
    try:
        aside = _fresh_directory(paths.state / f"damaged-store-{now:%Y%m%dT%H%M%SZ}")
        for path in found:
            path.rename(aside / path.name)
        (aside / "WHY.txt").write_text(f"{why}\n", encoding="utf-8")
        sync(aside)
        sync(paths.state)
    except OSError as error:
        raise Refused(
            f"the store {paths.store} {why}, and it cannot be set aside: {error}",
            "make room in the state directory, or move the store away by hand",
        ) from error
    return aside


def _fresh_directory(wanted: Path) -> Path:
    number = 0
    while True:
        path = wanted.with_name(f"{wanted.name}-{number}") if number else wanted
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return path


def _bring_back(paths: Paths, backup: Path, known: Roster | None) -> str:
    """Put a copy of the backup where the store was; what is wrong with it, or an empty string."""
    try:
        print_of = known.files.get(backup.name) if known else None
        if print_of and print_of.contradicts(backup):
            return "is damaged: its bytes are not those that homerun wrote (checksum)"
        part = paths.store.with_name(f".{paths.store.name}.part")
        shutil.copyfile(backup, part)
        part.chmod(0o600)
        sync(part)
        part.replace(paths.store)
        sync(paths.state)
    except OSError as error:
        if error.errno in _NO_FAULT_OF_THE_BACKUP:
            raise Refused(
                f"the backup {backup} cannot be put in the place of the store: {error.strerror}",
                "make room in the state directory and start homerun again",
            ) from error
        return f"cannot be read: {error.strerror}"
    return ""


# --- what the store has to know ---------------------------------------------------------------


def _looked_through(opened: _Found, paths: Paths, known: Roster | None, now: datetime) -> _Found:
    """A store that opened may still be an older one, or lack a part of its log."""
    if known is None:
        return opened
    with opened.store.transaction() as tx:
        newest = tx.journal.newest(1)
    reached = newest[-1].id if newest else 0
    if reached >= known.journal:
        return opened
    lacks = (
        f"The store {paths.store} has gone back: its journal ends at entry {reached}, and "
        f"{known.journal} had been written; its write-ahead log was lost or cut."
    )
    return _rebuilt(opened, [lacks], paths, known, now)


def _rebuilt(
    opened: _Found, told: list[str], paths: Paths, known: Roster | None, now: datetime
) -> _Found:
    """Bring runs and holds up to what the roster and the directories say; write it all down."""
    with opened.store.transaction() as tx:
        if known is not None:
            told += _from_roster(tx, known, now)
        told += _from_directories(tx, paths, now)
        message = " ".join(told)
        tx.journal.write("store_salvaged", message, now, severity="error")
    log.error("%s", message)
    return _Found(opened.store, opened.identity, tuple(told))


def _from_roster(tx: Transaction, known: Roster, now: datetime) -> list[str]:
    came = []
    for run in sorted(known.runs, key=lambda run: run.created):
        if tx.runs.get(run.name) is None:
            tx.runs.add(run_spec.from_dict(run.spec), run.priority, run.created)
            came.append(run.name)
    # what is active now may be over by now: first the ends, then the one that is
    for run in sorted(known.runs, key=lambda run: run.state is RunState.ACTIVE):
        mine = tx.runs.get(run.name)
        if mine is not None and mine.state is not run.state:
            tx.runs.set_state(run.name, run.state, run.finished or now)
        facts = {name: getattr(run, name) for name in RunFacts.__annotations__}
        tx.runs.update(
            run.name, **{key: value for key, value in facts.items() if value is not None}
        )
    for goal in known.goals:
        if tx.runs.get(goal.run) is not None:
            tx.goals.put(goal)
    wanted = {_key(hold) for hold in known.holds}
    standing = tx.holds.active(now)
    tx.holds.end([hold.id for hold in standing if _key(hold) not in wanted], now)
    mine_now = {_key(hold) for hold in standing}
    for hold in known.holds:
        over = hold.until is not None and hold.until <= now
        if _key(hold) not in mine_now and not over:
            tx.holds.add(hold)
    return [f"From the roster came back: {', '.join(came)}."] if came else []


def _key(hold: Hold) -> tuple[object, ...]:
    return (hold.reason, hold.effect, hold.source, hold.since, hold.run)


def _from_directories(tx: Transaction, paths: Paths, now: datetime) -> list[str]:
    """Runs that only their directories know: held, for nobody knows whether they should run."""
    found = []
    for record in sorted(paths.runs.glob("*/run.json")):
        try:
            spec = run_spec.from_dict(json.loads(record.read_text(encoding="utf-8"))["spec"])
        except (OSError, ValueError, KeyError, TypeError, InvalidFileError) as error:
            log.warning("%s cannot be used: %r", record, error)
            continue
        if spec.name != record.parent.name or tx.runs.get(spec.name) is not None:
            continue
        tx.runs.add(spec, 0, now)
        detail = "found on the disk, its state is unknown; homerun resume lets it run"
        tx.holds.add(Hold(Reason.USER, Effect.PAUSE, "salvage", now, None, detail, spec.name))
        found.append(spec.name)
    return [f"Found on the disk and held: {', '.join(found)}."] if found else []
