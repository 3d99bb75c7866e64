"""Storage: the directory of all prepared datasets, and who may write in it.

data_dir/<dataset id>/    a prepared dataset, complete
data_dir/tmp-<pid>-<n>/   one that is being prepared; a leftover when nobody holds the lock
data_dir/known/<key>.json which dataset a corpus gave with these settings, and its fingerprint
data_dir/lock             held by the one who prepares
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from trainer.data.dataset import MANIFEST, Dataset, open_dataset
from trainer.data.errors import DataError
from trainer.data.watch import Watch

_TEMPORARY = "tmp-"


class Storage:
    """The data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def make(self) -> None:
        """Make the directory itself; raises DataError when that cannot be."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.data_dir, error) from None

    @contextmanager
    def locked(self, watch: Watch) -> Iterator[int]:
        """Hold the lock, waiting while another preparation has it; removes leftovers.

        Gives the time by the file system's clock, in nanoseconds.
        """
        with self._lock_file() as file:
            while not _flock(file):
                file.seek(0)
                holder = file.read().strip() or "another process"
                watch.say(f"waiting for {holder}, which prepares data here too", -1.0)
                watch.pause()
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            os.utime(file.fileno())
            self._sweep()
            yield os.fstat(file.fileno()).st_mtime_ns

    def recall(self, key: str, fingerprint: str) -> str | None:
        """The dataset that the corpus with this fingerprint gave, when that is known."""
        try:
            plain = json.loads(self._known(key).read_text(encoding="utf-8"))
            return str(plain["dataset"]) if plain["fingerprint"] == fingerprint else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, key: str, fingerprint: str, dataset_id: str) -> None:
        """Note which dataset the corpus with this fingerprint gives."""
        path = self._known(key)
        beside = path.with_suffix(".new")
        text = json.dumps({"fingerprint": fingerprint, "dataset": dataset_id})
        with suppress(OSError):  # without the note the corpus is read again next time
            path.parent.mkdir(exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)

    def open(self, dataset_id: str | None) -> Dataset | None:
        """The dataset when it is there and whole."""
        try:
            return open_dataset(self.data_dir, dataset_id) if dataset_id else None
        except DataError:
            return None

    def ids(self) -> list[str]:
        """The datasets that are there, whatever their state."""
        return sorted(path.parent.name for path in self.data_dir.glob(f"*/{MANIFEST}"))

    @contextmanager
    def building(self, dataset_id: str) -> Iterator[Path]:
        """A directory to build a dataset in; it takes its place when the block ends well.

        Whatever goes wrong, nothing half-made stays. Needs the lock.
        """
        directory = self._temporary("new")
        directory.mkdir()
        try:
            yield directory
            _fsync_directory(directory)
            final = self.data_dir / dataset_id
            if final.exists():
                # open() refused it: it is damaged, and the new one has the same contents
                final.rename(self._temporary("damaged"))
            directory.rename(final)
            _fsync_directory(self.data_dir)
        finally:
            self._sweep()

    def tidy(self) -> None:
        """Remove what a killed preparation left, unless somebody prepares right now."""
        if not any(self._leftovers()):
            return
        with suppress(DataError), self._lock_file() as file:
            if _flock(file):
                self._sweep()

    def _lock_file(self) -> TextIO:
        path = self.data_dir / "lock"
        try:
            return path.open("a+", encoding="utf-8")
        except OSError as error:
            raise cannot_write(path, error) from None

    def _leftovers(self) -> Iterator[Path]:
        return self.data_dir.glob(f"{_TEMPORARY}*")

    def _sweep(self) -> None:
        for leftover in self._leftovers():
            shutil.rmtree(leftover, ignore_errors=True)

    def _temporary(self, what: str) -> Path:
        return self.data_dir / f"{_TEMPORARY}{os.getpid()}-{what}"

    def _known(self, key: str) -> Path:
        return self.data_dir / "known" / f"{key}.json"


def cannot_write(path: Path, error: OSError) -> DataError:
    """What to say when the disk refuses."""
    return DataError(
        f"{path}: cannot be written: {error.strerror or error}",
        "free space on the disk or correct the permissions, then try again",
    )


def _flock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise cannot_write(Path(file.name), error) from None
    return True


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
