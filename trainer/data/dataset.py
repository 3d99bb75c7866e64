"""Dataset: a prepared corpus on disk, opened and checked.

``data_dir/<dataset id>/`` holds tokenizer.json, the shards and the index of both splits, and
manifest.json with the size and checksum of each file. It never changes after it was renamed there.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import shards, tokenizer
from trainer.data.errors import DataError
from trainer.data.shards import Documents, FileFacts
from trainer.data.tokenizer import Tokenizer

MANIFEST = "manifest.json"
FORMAT = 1
SPLITS = ("train", "validation")

_ID = re.compile(r"[0-9a-f]{32}")
_CHUNK_BYTES = 1 << 22
_FIX = "prepare the data anew"


@dataclass(frozen=True)
class Manifest:
    """What a dataset directory holds."""

    id: str
    #: everything that decided the bytes
    settings: dict[str, Any]
    #: split to its documents and tokens
    counts: dict[str, dict[str, int]]
    #: split to its shards, in order
    shards: dict[str, list[str]]
    files: list[FileFacts]

    def to_json(self) -> str:
        """The manifest with a checksum over itself; the same manifest gives the same text."""
        plain = {
            "format": FORMAT,
            "id": self.id,
            "settings": self.settings,
            "counts": self.counts,
            "shards": self.shards,
            "files": {
                facts.name: {"bytes": facts.size_bytes, "blake2b": facts.blake2b}
                for facts in self.files
            },
        }
        return json.dumps({**plain, "checksum": checksum(plain)}, indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Dataset:
    """A prepared corpus: its tokenizer and both splits, memory-mapped."""

    #: hash over the settings and the contents of the corpus
    id: str
    dir: Path
    tokenizer: Tokenizer
    train: Documents
    validation: Documents
    #: [V] bytes of text that each token stands for; 0 for special tokens
    token_bytes: NDArray[np.int64] = field(repr=False)


def open_dataset(data_dir: Path, dataset_id: str) -> Dataset:
    """Open a prepared dataset.

    The checksums of the manifest, the tokenizer and both indices are verified, and the size of
    every shard; ``verify_shards`` reads the shards too.

    Raises:
        DataError: it is missing or damaged; names the file.
    """
    directory = data_dir / dataset_id
    manifest = read_manifest(directory, dataset_id)
    lazily = {name for names in manifest.shards.values() for name in names}
    for facts in manifest.files:
        _check(directory / facts.name, facts, contents=facts.name not in lazily)
    own_tokenizer = Tokenizer.load(directory)
    dtype = shards.token_dtype(own_tokenizer.vocab_size)
    train, validation = (
        Documents(
            directory / f"{split}.index",
            [directory / name for name in manifest.shards[split]],
            dtype,
        )
        for split in SPLITS
    )
    return Dataset(
        dataset_id, directory, own_tokenizer, train, validation, own_tokenizer.token_bytes()
    )


def verify_shards(dataset: Dataset) -> None:
    """Read every file of a dataset in full; raises DataError naming the first damaged one."""
    verify_files(dataset.dir)


def verify_files(directory: Path) -> None:
    """The same for a dataset's directory, of which nothing needs to be open."""
    for facts in read_manifest(directory, directory.name).files:
        _check(directory / facts.name, facts, contents=True)


def checksum(plain: Any) -> str:
    """BLAKE2b-128 over plain JSON types, whatever the order of their keys."""
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_manifest(directory: Path, dataset_id: str) -> Manifest:
    """What the directory of a dataset holds; raises DataError when it is missing or damaged."""
    path = directory / MANIFEST
    if not _ID.fullmatch(dataset_id) or not directory.is_dir():
        raise DataError(f"{directory.parent}: has no dataset {dataset_id!r}", _FIX)
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        manifest = _manifest_of(plain)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", _FIX) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is damaged: {error}", _FIX) from None
    if manifest.id != dataset_id:
        raise DataError(f"{path}: belongs to the dataset {manifest.id}", _FIX)
    return manifest


def _manifest_of(plain: dict[str, Any]) -> Manifest:
    if plain.pop("checksum") != checksum(plain):
        raise ValueError("its checksum does not fit")
    if plain["format"] != FORMAT:
        raise ValueError(f"its format is {plain['format']}, this version reads {FORMAT}")
    files = [
        FileFacts(name, facts["bytes"], facts["blake2b"]) for name, facts in plain["files"].items()
    ]
    names = {facts.name for facts in files}
    needed = {tokenizer.FILE_NAME, *(f"{split}.index" for split in SPLITS)}
    shard_names: dict[str, list[str]] = plain["shards"]
    for split in SPLITS:
        needed.update(shard_names[split])
    if not needed <= names:
        raise ValueError(f"it does not list {', '.join(sorted(needed - names))}")
    return Manifest(plain["id"], plain["settings"], plain["counts"], shard_names, files)


def _check(path: Path, facts: FileFacts, *, contents: bool) -> None:
    try:
        size_bytes = path.stat().st_size
        if size_bytes != facts.size_bytes:
            raise DataError(f"{path}: has {size_bytes} bytes instead of {facts.size_bytes}", _FIX)
        if contents and _blake2b(path) != facts.blake2b:
            raise DataError(f"{path}: is damaged: its checksum does not fit", _FIX)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", _FIX) from None


def _blake2b(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
