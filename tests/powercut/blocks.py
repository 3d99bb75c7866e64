"""Every disk that a power cut may leave of one directory of files, down to single sectors.

The model is weaker than any file system that we know, so what survives it survives those:

- of the unsynced changes of names, any subset has happened;
- each unsynced write is there, not there, zeros, or there in some of its sectors only;
- each unsynced change of a file's length has happened or not;
- all of these independently of each other, whatever the order of the calls was.

There are too many for a list: the plain ones are all made, the rest is drawn from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut.tracing import Call

SECTOR_BYTES = 512
#: the names of a directory with the bytes of their files
Image = dict[str, bytes]


@dataclass
class _File:
    synced: bytes = b""
    pending: list[Call] = field(default_factory=list)

    def sync(self) -> None:
        self.synced = self.image(lambda call: call.data)
        self.pending.clear()

    def image(self, left: Callable[[Call], bytes | None]) -> bytes:
        """The bytes, if of each pending change ``left`` of it is there; None for nothing."""
        content = bytearray(self.synced)
        for call in self.pending:
            data = left(call)
            if data is None:
                continue
            if call.kind == "truncate":
                content[call.offset :] = bytes(max(0, call.offset - len(content)))
                continue
            content.extend(bytes(max(0, call.offset - len(content))))
            content[call.offset : call.offset + len(data)] = data
        return bytes(content)


@dataclass
class _Change:
    """A change of names that no sync of the directory has made durable yet."""

    gone: str | None
    come: tuple[str, _File] | None


class Machine:
    """A directory of files on a machine that loses its power."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._synced: dict[str, _File] = {}
        self._names: dict[str, _File] = {}
        self._changes: list[_Change] = []

    def apply(self, call: Call) -> None:
        """Let one recorded call happen."""
        if call.kind == "mark":
            return
        if call.path == self._root:
            assert call.kind == "sync", call
            self._synced = dict(self._names)
            self._changes.clear()
            return
        assert call.path.parent == self._root, f"not in {self._root}: {call}"
        name = call.path.name
        if call.kind == "create":
            self._change(_Change(None, (name, _File())))
        elif call.kind == "unlink":
            self._change(_Change(name, None))
        elif call.kind == "rename":
            assert call.target is not None
            self._change(_Change(name, (call.target.name, self._names[name])))
        elif call.kind == "sync":
            self._names[name].sync()
        else:
            self._names[name].pending.append(call)

    def images(self, rng: random.Random, drawn: int) -> Iterator[Image]:
        """Disks after a cut now: the plain ones, and ``drawn`` more; some may be equal."""
        pending = [call for file in self._files() for call in file.pending]
        yield self.image_of_everything()
        if not pending and not self._changes:
            return
        for names in ([False] * len(self._changes), [True] * len(self._changes)):
            yield self._image(names, lambda call: None)
            yield self._image(names, lambda call: bytes(len(call.data)))
        for lost in pending[-4:]:
            yield self._image([True] * len(self._changes), _all_but(lost))
        for _ in range(drawn):
            names = [rng.random() < 0.5 for _ in self._changes]
            fates = {id(call): _fate(call, rng) for call in pending}
            yield self._image(names, lambda call, fates=fates: fates[id(call)])  # type: ignore[misc]

    def image_of_everything(self) -> Image:
        """The disk if every call so far has reached it."""
        return self._image([True] * len(self._changes), lambda call: call.data)

    def _files(self) -> list[_File]:
        found = [*self._synced.values(), *self._names.values()]
        found += [change.come[1] for change in self._changes if change.come]
        return list({id(file): file for file in found}.values())

    def _change(self, change: _Change) -> None:
        self._changes.append(change)
        _apply(self._names, change)

    def _image(self, happened: list[bool], left: Callable[[Call], bytes | None]) -> Image:
        names = dict(self._synced)
        for chosen, change in zip(happened, self._changes, strict=True):
            if chosen:
                _apply(names, change)
        return {name: file.image(left) for name, file in names.items()}


def _apply(names: dict[str, _File], change: _Change) -> None:
    if change.gone is not None:
        names.pop(change.gone, None)
    if change.come is not None:
        names[change.come[0]] = change.come[1]


def _all_but(lost: Call) -> Callable[[Call], bytes | None]:
    return lambda call: None if call is lost else call.data


def _fate(call: Call, rng: random.Random) -> bytes | None:
    fate = rng.randrange(4)
    if fate == 0:
        return None
    if fate == 1 or call.kind == "truncate":
        return call.data
    if fate == 2:
        return bytes(len(call.data))
    # the disk wrote some sectors, in whatever order it liked; the others are as they were born
    torn = bytearray(call.data)
    for at in range(0, len(torn), SECTOR_BYTES):
        if rng.random() < 0.5:
            torn[at : at + SECTOR_BYTES] = bytes(len(torn[at : at + SECTOR_BYTES]))
    return bytes(torn)


def disks_after_a_cut(
    calls: Iterable[Call], root: Path, rng: random.Random, drawn: int, since: int = 0
) -> Iterator[tuple[Call, tuple[str, ...], Image]]:
    """Cut the power after every call but the first ``since``; each distinct disk with its marks."""
    machine = Machine(root)
    marks: tuple[str, ...] = ()
    seen: set[int] = set()
    for at, call in enumerate(calls):
        machine.apply(call)
        if call.kind == "mark":
            marks = (*marks, str(call.path))
        if at < since:
            continue
        for image in machine.images(rng, drawn):
            key = hash((frozenset(image.items()), marks))
            if key not in seen:
                seen.add(key)
                yield call, marks, image
