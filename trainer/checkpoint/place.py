"""Place: somewhere that a run's checkpoints lie, on this machine or far away. Free of torch.

The layout is the same everywhere, so that a copy is a copy in either direction:
``run.json`` and ``checkpoints/gen-…/`` with its files and its MANIFEST.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainer.checkpoint.catalog import DIRECTORY, discard
from trainer.checkpoint.commit import Stream, replace_file, write_file
from trainer.checkpoint.disk import CHUNK_BYTES, REAL, Disk, fill, read_whole, reading, remove_tree
from trainer.checkpoint.format import (
    DAMAGE_ERRNOS,
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    DamagedError,
    Name,
    parse_name,
)
from trainer.checkpoint.owner import RECORD

#: beside run.json: the homerun whose copies lie there
MARK = "owner"
_MARK_LIMIT_BYTES = 1024


class PlaceError(Exception):
    """A place that cannot be used as it was named; the message says what to do."""


class Place(Protocol):
    """What a copy needs. Every method raises OSError, or what its library raises, on failure."""

    def generations(self) -> list[Name]:
        """The names of the checkpoints that may be whole, newest first."""

    def is_at(self, run_dir: Path) -> bool:
        """Whether it is that very directory of this machine, however it was named."""

    def size_bytes(self, name: Name, file: str) -> int:
        """The size of a checkpoint's file; FileNotFoundError when there is none."""

    def read(self, name: Name, file: str) -> Iterator[memoryview]:
        """The bytes of a checkpoint's file, piece by piece."""

    def put(self, name: Name, streams: Sequence[Stream]) -> None:
        """Write a checkpoint; its manifest is the last stream. All of it is there then, or none."""

    def remove(self, name: Name) -> None:
        """Delete a checkpoint, so that no half of it looks whole meanwhile."""

    def read_record(self) -> bytes:
        """run.json; FileNotFoundError when there is none."""

    def write_record(self, data: bytes) -> None:
        """Replace run.json."""

    def read_mark(self) -> str:
        """Whose copies these are, as ``write_mark`` was told; empty: nobody's yet."""

    def write_mark(self, mark: str) -> None:
        """From now on they are those of ``mark``."""


def open_place(url: str, run: str) -> Place:
    """The place of ``run`` below ``url``: a directory's path or file:// URL, or any of fsspec's.

    Raises:
        PlaceError: nobody knows how to speak to such a place, or a local one is not there.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme in ("file", "local"):
        base = Path(rest if separator else url).expanduser()
        if not base.is_dir():
            # made by hand, once: an unplugged disk must not be filled in at its mount point
            raise PlaceError(f"{base} is not there: mount it, or make the directory")
        return LocalPlace(base / run)
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise PlaceError(f"{scheme}:// cannot be used: {error}") from None
    return ObjectPlace(system, f"{root.rstrip('/')}/{run}")


@contextlib.contextmanager
def _naming_damage(name: Name, file: str) -> Iterator[None]:
    """One sick file must not keep the older checkpoints beside it from being used."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno not in DAMAGE_ERRNOS:
            raise
        problem = f"{file}: cannot be read: {error.strerror}"
        raise DamagedError(str(name), (problem,)) from None


class LocalPlace:
    """A directory, written in the same order as a save: it survives a power cut at any instant."""

    def __init__(self, root: Path, disk: Disk = REAL) -> None:
        self._root = root
        self._home = root / DIRECTORY
        self._disk = disk

    def is_at(self, run_dir: Path) -> bool:
        # what is not there yet is found by its name, what is by its inode (a bind mount)
        if self._root.resolve() == run_dir.resolve():
            return True
        with contextlib.suppress(OSError):
            return self._root.samefile(run_dir)
        return False

    def generations(self) -> list[Name]:
        try:
            names = self._disk.names(self._home)
        except FileNotFoundError:
            return []
        return _newest_first(names)

    def size_bytes(self, name: Name, file: str) -> int:
        with _naming_damage(name, file):
            return self._disk.size_bytes(self._home / str(name) / file)

    def read(self, name: Name, file: str) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        with (
            _naming_damage(name, file),
            reading(self._disk, self._home / str(name) / file) as handle,
        ):
            self._disk.forget(handle)
            while count := fill(self._disk, handle, buffer):
                yield buffer[:count]

    def put(self, name: Name, streams: Sequence[Stream]) -> None:
        self._make_home()
        needed = sum(stream.size_bytes for stream in streams)
        if self._disk.free_bytes(self._home) < needed + needed // 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._home))
        temporary = self._home / str(name.as_kind("tmp"))
        # what an earlier copy of the same checkpoint or a deletion left behind
        remove_tree(self._disk, temporary)
        for text in self._disk.names(self._home):
            if text.startswith("trash-"):
                remove_tree(self._disk, self._home / text)
        self._disk.mkdir(temporary)
        try:
            for stream in streams:
                write_file(temporary / stream.name, stream.size_bytes, stream.chunks, self._disk)
            self._disk.fsync_dir(temporary)
            if str(name) in self._disk.names(self._home):
                # a damaged one: nobody copies what is whole already
                discard(self._home / str(name), disk=self._disk)
            self._disk.rename(temporary, self._home / str(name))
        except BaseException:
            with contextlib.suppress(OSError):
                remove_tree(self._disk, temporary)
            raise
        self._disk.fsync_dir(self._home)

    def remove(self, name: Name) -> None:
        discard(self._home / str(name), disk=self._disk)

    def read_record(self) -> bytes:
        return read_whole(self._disk, self._root / RECORD, MANIFEST_LIMIT_BYTES)

    def write_record(self, data: bytes) -> None:
        self._make_home()
        replace_file(self._root / RECORD, data, self._disk)

    def read_mark(self) -> str:
        try:
            raw = read_whole(self._disk, self._root / MARK, _MARK_LIMIT_BYTES)
        except FileNotFoundError:
            return ""
        return raw.decode("utf-8", "replace").strip()

    def write_mark(self, mark: str) -> None:
        self._make_home()
        replace_file(self._root / MARK, f"{mark}\n".encode(), self._disk)

    def _make_home(self) -> None:
        for path in (self._root, self._home):
            with contextlib.suppress(FileExistsError):
                self._disk.mkdir(path)
            self._disk.fsync_dir(path.parent)


class ObjectPlace:
    """A file system of fsspec, which can neither sync nor rename: the manifest comes last."""

    def __init__(self, system: Any, root: str) -> None:
        self._system = system
        self._root = root

    def is_at(self, run_dir: Path) -> bool:
        return False

    def generations(self) -> list[Name]:
        self._system.invalidate_cache()
        try:
            paths = self._system.ls(f"{self._root}/{DIRECTORY}", detail=False)
        except FileNotFoundError:
            return []
        return _newest_first([path.rstrip("/").rpartition("/")[2] for path in paths])

    def size_bytes(self, name: Name, file: str) -> int:
        return int(self._system.size(self._path(name, file)))

    def read(self, name: Name, file: str) -> Iterator[memoryview]:
        with self._system.open(self._path(name, file), "rb") as source:
            while piece := source.read(CHUNK_BYTES):
                yield memoryview(piece)

    def put(self, name: Name, streams: Sequence[Stream]) -> None:
        self._system.makedirs(self._path(name, "").rstrip("/"), exist_ok=True)
        # while files are replaced, an older manifest must not vouch for them
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(name, MANIFEST))
        for stream in streams:
            with self._system.open(self._path(name, stream.name), "wb") as target:
                for chunk in stream.chunks:
                    target.write(bytes(chunk))
        self._system.invalidate_cache()

    def remove(self, name: Name) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(name, MANIFEST))
        self._system.rm(self._path(name, "").rstrip("/"), recursive=True)

    def read_record(self) -> bytes:
        return bytes(self._system.cat_file(f"{self._root}/{RECORD}"))

    def write_record(self, data: bytes) -> None:
        self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(f"{self._root}/{RECORD}", data)

    def read_mark(self) -> str:
        try:
            raw = bytes(self._system.cat_file(f"{self._root}/{MARK}"))
        except FileNotFoundError:
            return ""
        return raw[:_MARK_LIMIT_BYTES].decode("utf-8", "replace").strip()

    def write_mark(self, mark: str) -> None:
        self._system.makedirs(self._root, exist_ok=True)
        self._system.pipe_file(f"{self._root}/{MARK}", f"{mark}\n".encode())

    def _path(self, name: Name, file: str) -> str:
        return f"{self._root}/{DIRECTORY}/{name}/{file}"


def _newest_first(names: Sequence[str]) -> list[Name]:
    found = [name for name in map(parse_name, names) if name and name.kind == "gen"]
    return sorted(found, key=lambda name: name.age, reverse=True)
