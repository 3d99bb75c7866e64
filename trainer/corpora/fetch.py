"""Fetch: as many shards of a corpus as wanted, and its validation shard.

DIR/shard_00000.parquet ...       for training
DIR/validation/shard_01822.parquet  the last shard, which nanochat validates on too
DIR/corpus.json                   the manifest
DIR/.fetch/                       files that are not whole yet, and the lock
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainer.clock import Clock
from trainer.corpora import manifest as manifests
from trainer.corpora.download import Downloader
from trainer.corpora.hub import Hub, HubError, Listing
from trainer.corpora.manifest import Manifest
from trainer.corpora.sources import Source
from trainer.data.corpus import VALIDATION
from trainer.data.errors import DataError

#: bytes that a disk should have left when all has come
_SPARE_BYTES = 1 << 28
_WORK = ".fetch"

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Fetched:
    """What is there now."""

    directory: Path
    #: shards for training; one more is for validation
    shards: int
    size_bytes: int
    #: of them, what came in this call
    new_files: int


def fetch(
    source: Source,
    shards: int,
    directory: Path,
    hub: Hub,
    clock: Clock,
    progress: Progress,
    say: Callable[[str], None],
) -> Fetched:
    """Have the first ``shards`` shards and the last one in ``directory``, every byte checked.

    What is there already stays, also of a call that was cut short; more shards come from the
    revision that the first ones came from.

    Args:
        progress: told (what, fraction) several times a second while bytes come.
        say: told in words of waiting and trying again.

    Raises:
        DataError: the hub does not give it, the disk does not take it, or the directory is in
            use or holds something else. What has come stays.
    """
    try:
        _refuse_foreign(directory, source)
        with _alone_in(directory):
            wanted = _plan(source, shards, directory, hub)
            missing = wanted.missing(directory)
            _refuse_full_disk(directory, missing, wanted)
            manifests.write(directory, wanted)
            _get(wanted, missing, directory, hub, clock, progress, say)
    except HubError as error:
        raise DataError(
            f"{source.repository} cannot be fetched: {error.message}",
            "what has come stays in "
            f"{directory}; the same command goes on from there once the network does",
        ) from None
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be written: {error.strerror or error}",
            "free space or correct the permissions; the same command goes on from there",
        ) from None
    return Fetched(
        directory,
        sum(not name.startswith(f"{VALIDATION}/") for name in wanted.files),
        sum(facts.bytes for facts in wanted.files.values()),
        len(missing),
    )


def _plan(source: Source, shards: int, directory: Path, hub: Hub) -> Manifest:
    """The manifest of what is wanted and of what is there beside it.

    Asks the hub only when the manifest that is there knows too little.
    """
    present = manifests.read(directory)
    if present is not None:
        listing = Listing(
            present.revision, {Path(name).name: f for name, f in present.files.items()}
        )
        known = len(source.shards(listing.files)) - 1
    if present is None or known < shards:
        listing = hub.list(source.repository, present.revision if present else "main")
    wanted = _names(source, shards, listing)
    files = {place: listing.files[name] for place, name in wanted.items()}
    for name, facts in present.files.items() if present else ():
        if (directory / name).exists():
            files[name] = facts
    return Manifest(source.name, source.repository, listing.revision, files)


def _names(source: Source, shards: int, listing: Listing) -> dict[str, str]:
    """Where each wanted file goes, and what it is called on the hub."""
    *training, validation = source.shards(listing.files) or [""]
    if not training:
        raise DataError(
            f"{source.repository} has no shards any more",
            "it has changed; look at its page on the hub",
        )
    if shards > len(training):
        raise DataError(
            f"{source.name} has {len(training)} shards for training, not {shards}",
            f"--shards {len(training)} fetches them all",
        )
    return {**{name: name for name in training[:shards]}, f"{VALIDATION}/{validation}": validation}


def _get(
    wanted: Manifest,
    missing: dict[str, manifests.Facts],
    directory: Path,
    hub: Hub,
    clock: Clock,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    total = sum(facts.bytes for facts in missing.values())
    before, begun = 0, clock.monotonic()
    for number, (place, facts) in enumerate(missing.items(), start=1):

        def tell(done: int, before: int = before, number: int = number) -> None:
            seconds = max(clock.monotonic() - begun, 1e-3)
            speed = (before + done) / seconds / 1e6
            what = f"file {number} of {len(missing)}, {speed:.1f} MB/s"
            progress(what, (before + done) / max(1, total))

        name = place.removeprefix(f"{VALIDATION}/")
        part = directory / _WORK / f"{name}.part"
        loader = Downloader(hub, wanted.repository, wanted.revision, clock, tell, say)
        loader.fetch(name, facts, part, directory / place)
        before += facts.bytes


def _refuse_foreign(directory: Path, source: Source) -> None:
    if directory.exists() and not directory.is_dir():
        raise DataError(f"{directory}: is a file", "name a directory with --to")
    present = manifests.read(directory)
    if present is not None and present.source != source.name:
        raise DataError(f"{directory}: holds {present.source}", "name another one with --to")
    strangers = directory.exists() and any(
        path.name not in (_WORK, f"{manifests.FILE}.new") for path in directory.iterdir()
    )
    if present is None and strangers:
        raise DataError(
            f"{directory}: holds other files, which would become part of the corpus",
            "name an empty directory, or a new one, with --to",
        )


def _refuse_full_disk(
    directory: Path, missing: dict[str, manifests.Facts], wanted: Manifest
) -> None:
    there = sum(path.stat().st_size for path in (directory / _WORK).glob("*.part"))
    needed = sum(facts.bytes for facts in missing.values()) - there
    free = shutil.disk_usage(directory).free
    if missing and free < needed + _SPARE_BYTES:
        raise DataError(
            f"{directory}: {needed / 1e9:.1f} GB are to come, and the disk has only "
            f"{free / 1e9:.1f} GB left",
            "free space, ask for fewer shards, or name a directory on another disk with --to",
        )


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Two at once would write to the same files."""
    (directory / _WORK).mkdir(parents=True, exist_ok=True)
    with (directory / _WORK / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{directory}: somebody is fetching into it right now", "wait until that has ended"
            ) from None
        yield
