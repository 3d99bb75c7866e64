"""Corpus: the files that a dataset is made from, in a fixed order."""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.choices import DEFAULT_CORPUS
from trainer.data.errors import DataError
from trainer.data.formats import READERS, Document, Reader, read_python, read_text

#: installed packages and bytecode below the standard library are not part of it
NOT_STDLIB = frozenset({"site-packages", "dist-packages", "__pycache__"})

#: a corpus with files below a directory of this name has its validation split there
VALIDATION = "validation"

_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class CorpusFile:
    """One file and what tells that it has changed."""

    path: Path
    #: relative to the corpus, with forward slashes; its order is the order of the corpus
    name: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Corpus:
    """Files in the order of their names, and how to read them by their ending."""

    #: as data.corpus names it: a directory, or "default"
    spec: str
    root: Path
    files: tuple[CorpusFile, ...]
    readers: Mapping[str, Reader]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files on disk."""
        return sum(file.size_bytes for file in self.files)

    @property
    def changed_ns(self) -> int:
        """When the youngest file was changed, by the file system's clock."""
        return max(max(file.mtime_ns, file.ctime_ns) for file in self.files)

    @property
    def has_validation(self) -> bool:
        """Whether it says itself which documents are for validation, rather than their hashes."""
        return any(_is_validation(file.name) for file in self.files)

    @property
    def training_files(self) -> tuple[CorpusFile, ...]:
        """All files but those of its own validation split, if it has one."""
        return tuple(file for file in self.files if not _is_validation(file.name))

    def fingerprint(self) -> str:
        """A hash over names, sizes and times: cheap, and another one after any change."""
        digest = hashlib.blake2b(os.fsencode(self.root), digest_size=16)
        for file in self.files:
            facts = f"\0{file.size_bytes} {file.mtime_ns} {file.ctime_ns}\0"
            digest.update(os.fsencode(file.name) + facts.encode())
        return digest.hexdigest()

    def digest(self, read: Callable[[int], None]) -> str:
        """A hash over the contents of all files in order; names do not count, endings do.

        And so does what its own validation split is, if it has one.

        Args:
            read: told the bytes read so far, every few megabytes.
        """
        whole = hashlib.blake2b(digest_size=16)
        done_bytes = 0
        for file in self.files:
            own = hashlib.blake2b(digest_size=16)
            for chunk in _chunks(file.path):
                own.update(chunk)
                done_bytes += len(chunk)
                read(done_bytes)
            mark = b"validation\0" if _is_validation(file.name) else b""
            whole.update(mark + _ending(file.name).encode() + b"\0" + own.digest())
        return whole.hexdigest()

    def documents(self) -> Iterator[Document]:
        """Every document in order; its position counts the bytes of all files before it too.

        Raises:
            DataError: a file cannot be read or is not what its name says; names file and line.
        """
        before_bytes, has_validation = 0, self.has_validation
        for file in self.files:
            validation = _is_validation(file.name) if has_validation else None
            try:
                for text, position, _ in self.readers[_ending(file.name)](file.path):
                    yield Document(text, before_bytes + position, validation)
            except OSError as error:
                raise _unreadable(file.path, error) from None
            before_bytes += file.size_bytes


def find_corpus(corpus: str) -> Corpus:
    """The corpus at a directory, or Python's standard library for "default".

    A directory is searched recursively for .txt, .jsonl and .parquet; hidden files and
    directories are passed over, and so are files with other endings.

    Raises:
        DataError: no such directory, nothing to read in it, or it may not be read.
    """
    if corpus == DEFAULT_CORPUS:
        return _stdlib()
    root = Path(corpus)
    if not root.is_dir():
        what = "is a file, not a directory" if root.exists() else "no such directory"
        raise DataError(
            f"corpus {root}: {what}",
            f'set data.corpus to a directory of {_known()} files, or to "{DEFAULT_CORPUS}"',
        )
    found = [name for name in _walk(root) if not _hidden(name)]
    files = tuple(_file(root, name) for name in found if _ending(name) in READERS)
    if not files:
        others = sorted({_ending(name) or Path(name).name for name in found})
        what = f"only {', '.join(others[:5])}" if others else "no files"
        raise DataError(
            f"corpus {root}: has {what}", f"put {_known()} files with text into the directory"
        )
    return Corpus(corpus, root, files, READERS)


def corpus_of_files(paths: Sequence[Path]) -> Corpus:
    """Files in the order given; those with an unknown ending are read as one text each.

    Raises:
        DataError: one is missing or may not be read.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or directory", "check the name")
    files = tuple(_file(path.parent, path.name) for path in paths)
    readers = {_ending(file.name): READERS.get(_ending(file.name), read_text) for file in files}
    return Corpus(", ".join(map(str, paths)), Path(), files, readers)


def _stdlib() -> Corpus:
    root = Path(sysconfig.get_path("stdlib"))
    names = _walk(root, without=NOT_STDLIB)
    files = tuple(_file(root, name) for name in names if name.endswith(".py"))
    if not files:
        raise DataError(
            f"this Python has no library sources below {root}",
            "set data.corpus to a directory of text",
        )
    return Corpus(DEFAULT_CORPUS, root, files, {".py": read_python})


def _walk(root: Path, without: frozenset[str] = frozenset()) -> list[str]:
    """Names of all regular files below ``root``, sorted; the same on every machine."""

    def fail(error: OSError) -> None:
        raise _unreadable(Path(error.filename or root), error)

    names = []
    for directory, subdirectories, files in os.walk(root, onerror=fail):
        subdirectories[:] = [name for name in subdirectories if name not in without]
        for file in files:
            path = Path(directory, file)
            if path.is_file():
                names.append(path.relative_to(root).as_posix())
    return sorted(names)


def _file(root: Path, name: str) -> CorpusFile:
    path = root / name
    try:
        facts = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return CorpusFile(path, name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read: {error.strerror or error}",
        "check its permissions and the disk, or take it out of the corpus",
    )


def _is_validation(name: str) -> bool:
    return name.startswith(f"{VALIDATION}/")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _ending(name: str) -> str:
    return Path(name).suffix.lower()


def _known() -> str:
    return ", ".join(READERS)
