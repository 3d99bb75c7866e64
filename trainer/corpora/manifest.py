"""Manifest: what a fetched corpus consists of, by size and SHA-256 as the hub stated them.

``corpus.json`` in the corpus' directory. A file that lies under its own name was checked in
full before it got there; one that is listed and missing has not been fetched yet.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.data.errors import DataError

FILE = "corpus.json"
_FORMAT = 1
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Facts:
    """What the hub says of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A corpus from one revision of one repository."""

    source: str
    repository: str
    #: the hub's commit that all files are from
    revision: str
    #: path below the directory, with forward slashes, to the facts
    files: Mapping[str, Facts]

    def missing(self, directory: Path) -> dict[str, Facts]:
        """Files that are not there, or not in their size."""
        return {
            name: facts
            for name, facts in self.files.items()
            if _size(directory / name) != facts.bytes
        }


def read(directory: Path) -> Manifest | None:
    """The manifest of a fetched corpus; None where there is none.

    Raises:
        DataError: it is there and cannot be used.
    """
    path = directory / FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["format"] != _FORMAT:
            raise ValueError(f"its format is {plain['format']}, this version reads {_FORMAT}")
        files = {name: Facts(**facts) for name, facts in plain["files"].items()}
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
            raise ValueError("it names a file outside its directory")
        return Manifest(plain["source"], plain["repository"], plain["revision"], files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be used: {error}", "remove it and fetch again; good files are kept"
        ) from None


def write(directory: Path, manifest: Manifest) -> None:
    """Replace the manifest in one instant. Raises OSError."""
    plain = {"format": _FORMAT, **asdict(manifest)}
    beside = directory / f"{FILE}.new"
    with beside.open("w", encoding="utf-8") as file:
        file.write(json.dumps(plain, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.rename(directory / FILE)


def verify(
    directory: Path, manifest: Manifest, read_bytes: Callable[[int], None]
) -> dict[str, str]:
    """Read every file in full; those that are not as they should be, and what is wrong.

    Args:
        read_bytes: told the bytes read so far, of the sum of all sizes.
    """
    wrong, done = {}, 0
    for name, facts in manifest.files.items():

        def from_here(part: int, before: int = done) -> None:
            read_bytes(before + part)

        if problem := wrong_with(directory / name, facts, from_here):
            wrong[name] = problem
        done += facts.bytes
        read_bytes(done)
    return wrong


def wrong_with(path: Path, facts: Facts, read_bytes: Callable[[int], None]) -> str:
    """What is wrong with a file; empty when nothing is."""
    size = _size(path)
    if size is None:
        return "is missing"
    if size != facts.bytes:
        return f"has {size} bytes instead of {facts.bytes}"
    digest, done = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                read_bytes(done)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if digest.hexdigest() == facts.sha256 else "is damaged: its checksum does not fit"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
