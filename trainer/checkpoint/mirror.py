"""Mirror: whole checkpoints copied from one place to another, each byte checked on both sides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import xxhash

from trainer.checkpoint.catalog import UNDONE, Verdict, wrong_size
from trainer.checkpoint.commit import Stream
from trainer.checkpoint.format import (
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    DamagedError,
    FileRecord,
    ManifestError,
    Name,
    read_manifest,
)
from trainer.checkpoint.format import Manifest as Manifest
from trainer.checkpoint.owner import Owner, read_owner
from trainer.checkpoint.place import MARK as MARK
from trainer.checkpoint.place import LocalPlace as LocalPlace
from trainer.checkpoint.place import Place as Place
from trainer.checkpoint.place import PlaceError as PlaceError
from trainer.checkpoint.place import open_place as open_place


def candidates(place: Place, on_damaged: Callable[[Verdict], None] = lambda _: None) -> list[Name]:
    """The checkpoints that a run may go on from, newest first; their data is not read.

    What a rollback replaced is left out, and so is what has no good manifest or belongs to
    another run than the place's record says; the latter two are told.
    """
    owner = _owner(place)
    manifests: dict[Name, Manifest] = {}
    for name in place.generations():
        try:
            manifest = _manifest(place, name)[0]
            if owner and (foreign := owner.wrong(manifest)):
                raise DamagedError(str(name), (f"{MANIFEST}: {foreign}",))
        except DamagedError as error:
            on_damaged(Verdict(str(name), name.step, False, error.problems))
            continue
        manifests[name] = manifest
    undone = {gone for manifest in manifests.values() for gone in manifest.meta.get(UNDONE, ())}
    return [name for name in manifests if str(name) not in undone]


def verify(place: Place, name: Name) -> Verdict:
    """Read every byte of a checkpoint; names each file that is missing, cut, swapped or changed."""
    try:
        manifest, _ = _manifest(place, name)
    except DamagedError as error:
        return Verdict(str(name), name.step, False, error.problems)
    wrong: list[str] = []
    for file, record in manifest.files.items():
        try:
            for _ in _checked(place, name, file, record):
                pass
        except DamagedError as error:
            wrong += error.problems
    return Verdict(str(name), name.step, not wrong, tuple(wrong))


def copy(source: Place, target: Place, name: Name) -> Manifest:
    """Copy a checkpoint and read it back; when this returns it is whole in ``target``.

    Raises:
        DamagedError: it is damaged in ``source``, or was read back damaged; nothing that looks
            whole is left in ``target``.
        OSError: a place failed; so may whatever its library raises.
    """
    manifest, raw = _manifest(source, name)
    streams = [
        Stream(file, record.size_bytes, _checked(source, name, file, record))
        for file, record in manifest.files.items()
    ]
    target.put(name, [*streams, Stream(MANIFEST, len(raw), [memoryview(raw)])])
    verdict = verify(target, name)
    if not verdict.ok:
        target.remove(name)
        problems = tuple(f"after the copy, {problem}" for problem in verdict.problems)
        raise DamagedError(str(name), problems)
    return manifest


def bring(source: Place, target: Place, on_damaged: Callable[[Verdict], None]) -> Manifest | None:
    """Copy the newest whole checkpoint and the run's record; None when there is none.

    Each damaged one met on the way is told. Raises as ``copy`` does, but for damage.
    """
    for name in candidates(source, on_damaged):
        try:
            manifest = copy(source, target, name)
        except DamagedError as error:
            on_damaged(Verdict(str(name), name.step, False, error.problems))
            continue
        try:
            target.read_record()
        except FileNotFoundError:
            target.write_record(source.read_record())
        return manifest
    return None


def thin(place: Place, keep: int, always: str = "") -> list[Name]:
    """Delete all but the ``keep`` newest that a run may go on from; returns what went.

    ``always`` stays too: what is the newest now is not the furthest after a run started over.
    """
    kept = candidates(place)[: max(keep, 1)]
    if not kept:
        return []
    gone = [name for name in place.generations() if name not in kept and str(name) != always]
    for name in gone:
        place.remove(name)
    return gone


def spec_digest(place: Place) -> str:
    """Which run lies there, by the digest of its spec; empty when nobody can tell."""
    try:
        return str(json.loads(place.read_record())["spec_digest"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def _owner(place: Place) -> Owner | None:
    try:
        return read_owner(place.read_record())
    except FileNotFoundError:
        return None


def _manifest(place: Place, name: Name) -> tuple[Manifest, bytes]:
    """The checkpoint's manifest and its bytes; the sizes of all files agree with it."""
    try:
        if place.size_bytes(name, MANIFEST) > MANIFEST_LIMIT_BYTES:
            raise DamagedError(str(name), (f"{MANIFEST}: too long",))
        raw = b"".join(bytes(piece) for piece in place.read(name, MANIFEST))
        manifest = read_manifest(raw, Path(str(name)))
    except FileNotFoundError:
        raise DamagedError(str(name), (f"{MANIFEST}: is missing",)) from None
    except ManifestError as error:
        raise DamagedError(str(name), (f"{MANIFEST}: {error}",)) from None
    problems = []
    for file, record in manifest.files.items():
        try:
            problem = wrong_size(place.size_bytes(name, file), record)
        except FileNotFoundError:
            problem = "is missing"
        if problem:
            problems.append(f"{file}: {problem}")
    if problems:
        raise DamagedError(str(name), tuple(problems))
    return manifest, raw


def _checked(place: Place, name: Name, file: str, record: FileRecord) -> Iterator[memoryview]:
    """A file's pieces; after the last one DamagedError when they were not what they should be."""
    hasher = xxhash.xxh3_128()
    size = 0
    try:
        for piece in place.read(name, file):
            hasher.update(piece)
            size += piece.nbytes
            yield piece
    except FileNotFoundError:
        raise DamagedError(str(name), (f"{file}: is missing",)) from None
    problem = wrong_size(size, record)
    if not problem and hasher.hexdigest() != record.xxh3_128:
        problem = "its checksum does not match"
    if problem:
        raise DamagedError(str(name), (f"{file}: {problem}",))
