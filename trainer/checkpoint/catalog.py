"""The catalog: which checkpoints a run has, and which of them are whole. Free of torch.

With ``retention`` and ``mirror`` this is the orchestrator's door to checkpoints. The directories
are the truth: nothing here keeps an index, and no file says which checkpoint is the latest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import xxhash

from trainer.checkpoint.disk import (
    CHUNK_BYTES,
    REAL,
    Disk,
    fill,
    read_whole,
    reading,
    remove_tree,
)
from trainer.checkpoint.format import (
    DAMAGE_ERRNOS,
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    DamagedError,
    FileRecord,
    Manifest,
    ManifestError,
    Name,
    parse_name,
    read_manifest,
)
from trainer.checkpoint.lease import is_held as is_held
from trainer.checkpoint.lease import is_writing as is_writing
from trainer.checkpoint.lease import next_token as next_token
from trainer.checkpoint.lease import raise_fence as raise_fence
from trainer.checkpoint.lease import read_fence
from trainer.checkpoint.lease import writer_pid as writer_pid
from trainer.checkpoint.owner import owner_of

DIRECTORY = "checkpoints"
#: empty files beside a checkpoint's data: a person wants it kept; all its bytes were read back
PINNED = "PINNED"
VERIFIED = "VERIFIED"
#: the key of a manifest's meta that names the checkpoints which it replaces
UNDONE = "undone"
_WHY = "WHY.txt"


@dataclass(frozen=True)
class Entry:
    """A committed checkpoint."""

    name: str
    path: Path
    #: finished optimizer steps
    step: int
    attempt: int
    created: datetime
    #: bytes of all its data files
    size_bytes: int
    reason: str
    manifest: Manifest


@dataclass(frozen=True)
class Verdict:
    """What an examination found. A problem may be harmless (a stray file): see ``ok``.

    ``step`` is -1 when nobody can tell. ``unread``: it could not be looked at, for a reason that
    says nothing about what is stored (permission, handles, a later format): not to be set aside.
    """

    name: str
    step: int
    ok: bool
    problems: tuple[str, ...]
    unread: bool = False


def checkpoints_dir(run_dir: Path) -> Path:
    """Where a run's checkpoints live."""
    return run_dir / DIRECTORY


def list_checkpoints(run_dir: Path, *, disk: Disk = REAL) -> list[Entry]:
    """Every checkpoint with a sound manifest and files of the right sizes, newest first.

    Newest is the highest step, then the highest attempt. Reads no data: ``verify`` does. What
    cannot be listed is reported by ``damaged``.
    """
    entries = []
    for name in generations(run_dir, disk=disk):
        with contextlib.suppress(DamagedError, OSError):
            entries.append(examine(checkpoints_dir(run_dir) / str(name), disk=disk))
    return entries


def damaged(run_dir: Path, *, disk: Disk = REAL) -> list[Verdict]:
    """A verdict on each committed checkpoint that ``list_checkpoints`` leaves out."""
    verdicts = []
    for name in generations(run_dir, disk=disk):
        try:
            examine(checkpoints_dir(run_dir) / str(name), disk=disk)
        except DamagedError as error:
            verdicts.append(Verdict(str(name), name.step, False, error.problems))
        except OSError as error:
            verdicts.append(_unread(str(name), name.step, error))
    return verdicts


def verify(entry_path: Path, *, disk: Disk = REAL) -> Verdict:
    """Read every byte of a checkpoint and compare all checksums. Never raises for bad disks."""
    name = parse_name(entry_path.name)
    step = name.step if name else -1
    try:
        entry = examine(entry_path, disk=disk)
    except DamagedError as error:
        return Verdict(entry_path.name, step, False, error.problems)
    except OSError as error:
        return _unread(entry_path.name, step, error)
    try:
        wrong = [
            f"{file}: {problem}"
            for file, record in entry.manifest.files.items()
            if (problem := _wrong_bytes(entry_path / file, record, disk))
        ]
    except OSError as error:
        return _unread(entry_path.name, step, error)
    return Verdict(entry_path.name, entry.step, not wrong, (*wrong, *_strays(entry, disk)))


def _unread(name: str, step: int, error: OSError) -> Verdict:
    where = f"{Path(error.filename).name}: " if error.filename else ""
    return Verdict(name, step, False, (f"{where}cannot be read: {error.strerror}",), unread=True)


def examine(path: Path, *, disk: Disk = REAL) -> Entry:
    """The checkpoint in ``path``, judged by its manifest and the sizes of its files.

    Raises:
        DamagedError: the manifest is missing or damaged or another run's, or a file is missing
            or has the wrong size.
        OSError: it cannot be read, for a reason that says nothing about what is stored.
    """
    manifest = _manifest(path, disk)
    owner = owner_of(path.parent.parent, disk) if path.parent.name == DIRECTORY else None
    if owner and (foreign := owner.wrong(manifest)):
        raise DamagedError(path.name, (f"{MANIFEST}: {foreign}",))
    problems = [
        f"{file}: {problem}"
        for file, record in manifest.files.items()
        if (problem := _wrong_size(path / file, record, disk))
    ]
    if problems:
        raise DamagedError(path.name, tuple(problems))
    return entry_of(path, manifest)


def entry_of(path: Path, manifest: Manifest) -> Entry:
    """The entry of a checkpoint whose manifest is known to be good."""
    return Entry(
        name=path.name,
        path=path,
        step=manifest.step,
        attempt=manifest.attempt,
        created=manifest.created,
        size_bytes=manifest.size_bytes,
        reason=manifest.reason,
        manifest=manifest,
    )


def discard(path: Path, *, disk: Disk = REAL) -> None:
    """Delete a committed checkpoint so that no crash leaves a half-deleted one in the list."""
    name = parse_name(path.name)
    if name is None:
        raise ValueError(f"{path.name} is no checkpoint")
    trash = path.with_name(str(name.as_kind("trash")))
    disk.rename(path, trash)
    disk.fsync_dir(path.parent)
    remove_tree(disk, trash)


def quarantine(path: Path, why: str, *, disk: Disk = REAL) -> Path:
    """Set a damaged checkpoint aside under a new name, with ``why`` in a file. Returns the path.

    Raises:
        OSError: it cannot be renamed.
    """
    name = parse_name(path.name)
    aside = path.with_name(str(name.as_kind("damaged")) if name else f"damaged-{path.name}")
    disk.rename(path, aside)
    disk.fsync_dir(path.parent)
    # The note helps a person later; a disk that cannot take it changes nothing.
    with contextlib.suppress(OSError):
        _leave_note(aside / _WHY, why, disk)
    return aside


def undo(run_dir: Path, names: Collection[str], *, disk: Disk = REAL) -> list[str]:
    """Set whole checkpoints aside that a rollback made useless; returns those that were there.

    Raises:
        OSError: one cannot be renamed.
    """
    gone = []
    for name in generations(run_dir, disk=disk):
        if str(name) in names:
            path = checkpoints_dir(run_dir) / str(name)
            # the trainer and the daemon may both be at it
            with contextlib.suppress(FileNotFoundError):
                disk.rename(path, path.with_name(str(name.as_kind("undone"))))
            gone.append(str(name))
    if gone:
        disk.fsync_dir(checkpoints_dir(run_dir))
    return gone


def finish_rollback(run_dir: Path, *, disk: Disk = REAL) -> list[str]:
    """Set aside what a rollback left standing because the power or its process failed.

    The checkpoint that a rollback commits names what it replaces, so that the commit alone is
    the decision. Raises OSError as ``undo`` does.
    """
    named: set[str] = set()
    for entry in list_checkpoints(run_dir, disk=disk):
        named.update(map(str, entry.manifest.meta.get(UNDONE, ())))
    return undo(run_dir, named, disk=disk) if named else []


def sweep(run_dir: Path, *, disk: Disk = REAL) -> list[str]:
    """Remove what dead attempts left half-written and what retention left half-deleted.

    An attempt is dead when the fence stands above it, so call this after taking the lease.
    Returns the names that are gone.
    """
    fence = read_fence(run_dir, disk=disk)
    gone = []
    for name in _named(run_dir, disk):
        if name.kind == "trash" or (name.kind == "tmp" and name.attempt < fence):
            remove_tree(disk, checkpoints_dir(run_dir) / str(name))
            gone.append(str(name))
    return gone


def generations(run_dir: Path, *, disk: Disk = REAL) -> list[Name]:
    """The names of all committed checkpoints, newest first, whatever state they are in."""
    committed = [name for name in _named(run_dir, disk) if name.kind == "gen"]
    return sorted(committed, key=lambda name: name.age, reverse=True)


def undone(run_dir: Path, *, disk: Disk = REAL) -> list[Name]:
    """The names of what rollbacks have set aside."""
    return [name for name in _named(run_dir, disk) if name.kind == "undone"]


def _named(run_dir: Path, disk: Disk) -> list[Name]:
    try:
        texts = disk.names(checkpoints_dir(run_dir))
    except FileNotFoundError:
        return []
    return [name for name in map(parse_name, texts) if name]


def _manifest(path: Path, disk: Disk) -> Manifest:
    try:
        data = read_whole(disk, path / MANIFEST, MANIFEST_LIMIT_BYTES)
        return read_manifest(data, path)
    except FileNotFoundError:
        problem = "is missing"
    except ManifestError as error:
        problem = str(error)
    except OSError as error:
        if error.errno not in DAMAGE_ERRNOS:
            raise
        problem = f"cannot be read: {error.strerror}"
    raise DamagedError(path.name, (f"{MANIFEST}: {problem}",))


def _wrong_size(path: Path, record: FileRecord, disk: Disk) -> str:
    try:
        size = disk.size_bytes(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        if error.errno not in DAMAGE_ERRNOS:
            raise
        return f"cannot be read: {error.strerror}"
    return wrong_size(size, record)


def wrong_size(size_bytes: int, record: FileRecord) -> str:
    """What is wrong with a file of ``size_bytes`` bytes, or an empty string."""
    if size_bytes == record.size_bytes:
        return ""
    kind = "truncated" if size_bytes < record.size_bytes else "too long"
    return f"{kind}: has {size_bytes} bytes of {record.size_bytes}"


def _wrong_bytes(path: Path, record: FileRecord, disk: Disk) -> str:
    hasher = xxhash.xxh3_128()
    buffer = memoryview(bytearray(min(CHUNK_BYTES, record.size_bytes) or 1))
    try:
        with reading(disk, path) as handle:
            disk.forget(handle)
            while count := fill(disk, handle, buffer):
                hasher.update(buffer[:count])
    except OSError as error:
        if error.errno not in DAMAGE_ERRNOS:
            raise
        return f"cannot be read: {error.strerror}"
    return "" if hasher.hexdigest() == record.xxh3_128 else "its checksum does not match"


def _strays(entry: Entry, disk: Disk) -> list[str]:
    try:
        names = disk.names(entry.path)
    except OSError as error:
        return [f"its directory cannot be listed: {error.strerror}"]
    known = {*entry.manifest.files, MANIFEST, PINNED, VERIFIED}
    return [f"{name}: not in the manifest, left alone" for name in names if name not in known]


def _leave_note(path: Path, text: str, disk: Disk) -> None:
    handle = disk.create(path)
    try:
        disk.write(handle, memoryview(f"{text}\n".encode()))
    finally:
        disk.close(handle)
