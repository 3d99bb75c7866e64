"""Inventory: the fetched corpora and prepared datasets of this machine, listed and verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.corpora import manifest as manifests
from trainer.data import dataset as datasets
from trainer.data.errors import DataError
from trainer.data.storage import Storage

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class CorpusEntry:
    """A fetched corpus."""

    directory: Path
    source: str
    files: int
    #: of the files, how many have not come yet
    missing: int
    size_bytes: int

    def line(self) -> str:
        """In words."""
        gap = f", {self.missing} of them missing: fetch again" if self.missing else ""
        return (
            f"corpus   {self.directory}  {self.source}, {self.files} files, "
            f"{self.size_bytes / 1e9:.2f} GB{gap}"
        )

    def to_plain(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "directory": str(self.directory),
            "source": self.source,
            "files": self.files,
            "missing": self.missing,
            "bytes": self.size_bytes,
        }


@dataclass(frozen=True)
class DatasetEntry:
    """A prepared corpus."""

    id: str
    vocab_size: int
    train_tokens: int
    validation_tokens: int
    size_bytes: int

    def line(self) -> str:
        """In words."""
        return (
            f"dataset  {self.id}  {self.train_tokens:,} tokens for training, "
            f"{self.validation_tokens:,} for validation, vocabulary {self.vocab_size:,}, "
            f"{self.size_bytes / 1e9:.2f} GB"
        )

    def to_plain(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "id": self.id,
            "vocab_size": self.vocab_size,
            "train_tokens": self.train_tokens,
            "validation_tokens": self.validation_tokens,
            "bytes": self.size_bytes,
        }


@dataclass(frozen=True)
class Verdict:
    """What reading every byte of something has shown."""

    what: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all is as it was written."""
        return not self.problems

    def line(self) -> str:
        """In words."""
        return f"{'good   ' if self.ok else 'DAMAGED'}  {self.what}"

    def to_plain(self) -> dict[str, Any]:
        """As JSON types."""
        return {"what": self.what, "ok": self.ok, "problems": list(self.problems)}


def corpora_in(directory: Path) -> list[CorpusEntry]:
    """The fetched corpora below ``directory``; raises DataError for a damaged manifest."""
    found = []
    for path in sorted(directory.glob(f"*/{manifests.FILE}")):
        manifest = manifests.read(path.parent)
        if manifest is not None:
            size_bytes = sum(facts.bytes for facts in manifest.files.values())
            missing = len(manifest.missing(path.parent))
            found.append(
                CorpusEntry(path.parent, manifest.source, len(manifest.files), missing, size_bytes)
            )
    return found


def datasets_in(data_dir: Path) -> list[DatasetEntry]:
    """The prepared datasets that have a sound manifest."""
    found = []
    for name in Storage(data_dir).ids():
        try:
            manifest = datasets.read_manifest(data_dir / name, name)
        except DataError:
            continue  # verify names it
        found.append(
            DatasetEntry(
                name,
                manifest.settings["vocab_size"],
                manifest.counts["train"]["tokens"],
                manifest.counts["validation"]["tokens"],
                sum(facts.size_bytes for facts in manifest.files),
            )
        )
    return found


def dataset_dirs(data_dir: Path) -> list[Path]:
    """Where the prepared datasets lie."""
    return [data_dir / name for name in Storage(data_dir).ids()]


def verify(corpora: Sequence[Path], prepared: Sequence[Path], progress: Progress) -> list[Verdict]:
    """Read every byte of fetched corpora and prepared datasets and compare all checksums.

    Raises:
        DataError: one of ``corpora`` was not fetched by us.
    """
    return [
        *(_corpus(directory, progress) for directory in corpora),
        *(_dataset(directory, progress) for directory in prepared),
    ]


def _corpus(directory: Path, progress: Progress) -> Verdict:
    manifest = manifests.read(directory)
    if manifest is None:
        if (directory / datasets.MANIFEST).exists():
            return _dataset(directory, progress)
        raise DataError(
            f"{directory}: has no {manifests.FILE}, so nothing is known of its files",
            "only corpora from homerun data fetch and prepared datasets can be verified",
        )
    total = max(1, sum(facts.bytes for facts in manifest.files.values()))
    wrong = manifests.verify(
        directory, manifest, lambda done: progress(f"verifying {directory.name}", done / total)
    )
    return Verdict(str(directory), tuple(f"{name} {problem}" for name, problem in wrong.items()))


def _dataset(directory: Path, progress: Progress) -> Verdict:
    progress(f"verifying {directory.name}", -1.0)
    try:
        datasets.verify_files(directory)
    except DataError as error:
        return Verdict(str(directory), (error.message,))
    return Verdict(str(directory), ())
