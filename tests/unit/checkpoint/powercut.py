"""The power-cut campaign: every disk that a cut may leave, from a log of real operations.

A ``Machine`` replays the log that a RecordingDisk kept. At any moment it knows, for each file,
the bytes that were synced and those that were not, and for each directory the changes of names
that were not. ``images`` lists what the disk may hold if the power fails now, by the weakest
reading of POSIX:

- of the unsynced changes of names in a directory, any subset has happened;
- the unsynced bytes of a file are there, not there, zeros, or half there;
- all of these independently of each other.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainer.checkpoint import catalog
from trainer.checkpoint.disk import Disk, Operation
from trainer.checkpoint.lease import read_fence

#: a file's bytes, or a directory's sorted names with what they lead to
Image = bytes | tuple[tuple[str, "Image"], ...]


@dataclass
class _File:
    synced: bytes = b""
    content: bytearray = field(default_factory=bytearray)
    #: where the next write goes
    position: int = 0

    def images(self) -> set[Image]:
        full = bytes(self.content)
        if full == self.synced:
            return {full}
        half = full[: len(full) // 2]
        return {self.synced, full, bytes(len(full)), half, half + bytes(len(full) - len(half))}


@dataclass
class _Directory:
    synced: dict[str, _Node] = field(default_factory=dict)
    content: dict[str, _Node] = field(default_factory=dict)
    #: unsynced changes: the names that go, then the names that come
    pending: list[tuple[list[str], dict[str, _Node]]] = field(default_factory=list)

    def change(self, gone: list[str], come: dict[str, _Node]) -> None:
        self.pending.append((gone, come))
        _apply(self.content, gone, come)

    def images(self) -> set[Image]:
        found: set[Image] = set()
        for chosen in itertools.product((False, True), repeat=len(self.pending)):
            names = dict(self.synced)
            for happened, (gone, come) in zip(chosen, self.pending, strict=True):
                if happened:
                    _apply(names, gone, come)
            order = sorted(names)
            inner = (names[name].images() for name in order)
            found.update(tuple(zip(order, one, strict=True)) for one in itertools.product(*inner))
        return found


_Node = _File | _Directory


def _apply(names: dict[str, _Node], gone: list[str], come: dict[str, _Node]) -> None:
    for name in gone:
        names.pop(name, None)
    names.update(come)


class Machine:
    """A file system below ``root`` that loses its power."""

    def __init__(self, root: Path, durable_dirs: Iterable[Path]) -> None:
        self._root = root
        self._top = _Directory()
        for path in durable_dirs:
            self._directory(path.parent).change([], {path.name: _Directory()})
            self.apply(Operation("fsync_dir", path.parent))

    def images(self) -> set[Image]:
        """Everything that the disk may hold after a cut now."""
        return self._top.images()

    def apply(self, operation: Operation) -> None:
        """Let one recorded operation happen."""
        getattr(self, f"_{operation.kind}")(operation)

    def content(self, path: Path) -> dict[str, bytes]:
        """The files of a directory as the running system sees them."""
        found = self._directory(path).content
        return {name: bytes(node.content) for name, node in found.items()}

    def _node(self, path: Path) -> _Node:
        node: _Node = self._top
        for part in path.relative_to(self._root).parts:
            assert isinstance(node, _Directory)
            node = node.content[part]
        return node

    def _directory(self, path: Path) -> _Directory:
        node = self._node(path)
        assert isinstance(node, _Directory)
        return node

    def _file(self, path: Path) -> _File:
        node = self._node(path)
        assert isinstance(node, _File)
        return node

    def _mkdir(self, operation: Operation) -> None:
        path = operation.path
        self._directory(path.parent).change([], {path.name: _Directory()})

    def _create(self, operation: Operation) -> None:
        path = operation.path
        self._directory(path.parent).change([], {path.name: _File()})

    def _allocate(self, operation: Operation) -> None:
        file = self._file(operation.path)
        file.content.extend(bytes(operation.size_bytes - len(file.content)))

    def _write(self, operation: Operation) -> None:
        file = self._file(operation.path)
        end = file.position + len(operation.data)
        file.content[file.position : end] = operation.data
        file.position = end

    def _fsync(self, operation: Operation) -> None:
        file = self._file(operation.path)
        file.synced = bytes(file.content)

    def _rename(self, operation: Operation) -> None:
        assert operation.target is not None
        assert operation.target.parent == operation.path.parent
        directory = self._directory(operation.path.parent)
        node = directory.content[operation.path.name]
        directory.change([operation.path.name], {operation.target.name: node})

    def _unlink(self, operation: Operation) -> None:
        self._directory(operation.path.parent).change([operation.path.name], {})

    _rmdir = _unlink

    def _fsync_dir(self, operation: Operation) -> None:
        directory = self._directory(operation.path)
        directory.synced = dict(directory.content)
        directory.pending.clear()

    def _mark(self, operation: Operation) -> None:
        pass


class ImageDisk(Disk):
    """A disk to read an image with, after the power came back."""

    def __init__(self, root: Path, image: Image) -> None:
        self._root = root
        self._image = image
        self._open: dict[int, memoryview] = {}

    def names(self, path: Path) -> list[str]:
        node = self._find(path)
        if isinstance(node, bytes):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
        return [name for name, _ in node]

    def is_dir(self, path: Path) -> bool:
        return not isinstance(self._find(path), bytes)

    def size_bytes(self, path: Path) -> int:
        return len(self._bytes(path))

    def open(self, path: Path) -> int:
        handle = len(self._open)
        self._open[handle] = memoryview(self._bytes(path))
        return handle

    def read_into(self, handle: int, buffer: memoryview) -> int:
        rest = self._open[handle]
        count = min(len(rest), len(buffer))
        buffer[:count] = rest[:count]
        self._open[handle] = rest[count:]
        return count

    def close(self, handle: int) -> None:
        self._open[handle] = memoryview(b"")

    def _bytes(self, path: Path) -> bytes:
        node = self._find(path)
        if not isinstance(node, bytes):
            raise IsADirectoryError(errno.EISDIR, "a directory", str(path))
        return node

    def _find(self, path: Path) -> Image:
        node = self._image
        for part in path.relative_to(self._root).parts:
            inner = {} if isinstance(node, bytes) else dict(node)
            if part not in inner:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            node = inner[part]
        return node


@dataclass
class Promises:
    """What had been acknowledged before a cut, and what each generation truly holds."""

    saved: frozenset[str] = frozenset()
    fence: int = 0
    truth: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def note(self, operation: Operation, machine: Machine) -> None:
        """Follow the log: marks ``saved NAME`` and ``fence N``, commits, deletions."""
        target = operation.target
        if operation.kind == "mark":
            word, value = str(operation.path).split()
            if word == "saved":
                self.saved |= {value}
            else:
                self.fence = int(value)
        elif target and target.name.startswith("gen-"):
            self.truth[target.name] = machine.content(target)
        elif target and target.name.startswith("trash-"):
            self.saved -= {operation.path.name}


def broken_promises(run_dir: Path, disk: Disk, promises: Promises) -> list[str]:
    """What a start on this disk would find lost, or would wrongly trust."""
    found = []
    good = set()
    for entry in catalog.list_checkpoints(run_dir, disk=disk):
        if not catalog.verify(entry.path, disk=disk).ok:
            found.append(f"listed but damaged: {entry.name}")
            continue
        good.add(entry.name)
        for name, content in promises.truth[entry.name].items():
            handle = disk.open(entry.path / name)
            buffer = memoryview(bytearray(len(content) + 1))
            if disk.read_into(handle, buffer) != len(content) or buffer[:-1] != content:
                found.append(f"accepted with wrong bytes: {entry.name}/{name}")
    found += [f"lost: {name}" for name in promises.saved - good]
    found += [f"damaged: {verdict.name}" for verdict in catalog.damaged(run_dir, disk=disk)]
    if read_fence(run_dir, disk=disk) < promises.fence:
        found.append(f"the fence fell below {promises.fence}")
    return found


def cut_everywhere(
    log: Iterable[Operation], root: Path, run_dir: Path
) -> Iterator[tuple[Operation, list[str]]]:
    """Cut the power after every operation; for each distinct disk yield what was broken."""
    machine = Machine(root, [run_dir])
    promises = Promises()
    seen: set[tuple[Image, frozenset[str], int]] = set()
    for operation in log:
        machine.apply(operation)
        promises.note(operation, machine)
        for image in machine.images():
            key = (image, promises.saved, promises.fence)
            if key not in seen:
                seen.add(key)
                disk = ImageDisk(root, image)
                yield operation, broken_promises(run_dir, disk, promises)


def disks_after_a_cut(
    log: Iterable[Operation], root: Path, durable_dirs: Iterable[Path]
) -> Iterator[tuple[Operation, tuple[str, ...], ImageDisk]]:
    """Cut the power after every operation; each distinct disk with the marks made before it."""
    machine = Machine(root, durable_dirs)
    marks: tuple[str, ...] = ()
    seen: set[tuple[Image, tuple[str, ...]]] = set()
    for operation in log:
        machine.apply(operation)
        if operation.kind == "mark":
            marks = (*marks, str(operation.path))
        for image in machine.images():
            if (image, marks) not in seen:
                seen.add((image, marks))
                yield operation, marks, ImageDisk(root, image)


def without(log: list[Operation], forgotten: Callable[[Operation], bool]) -> list[Operation]:
    """The log of a protocol that lacks the operations that ``forgotten`` picks."""
    kept = [operation for operation in log if not forgotten(operation)]
    assert len(kept) < len(log), "the mutation removes nothing"
    return kept
