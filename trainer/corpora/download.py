"""Download: one file from the hub, whole and checked, however often the line is cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.clock import Clock
from trainer.corpora.hub import Hub, HubError
from trainer.corpora.manifest import Facts, wrong_with

#: so many tries in a row that bring nothing are the end
TRIES = 6
_FIRST_WAIT_SECONDS = 2.0
#: longer is not waited, even when the hub asks for it
_LONGEST_WAIT_SECONDS = 300.0
#: a file whose checksum is wrong so often is wrong on the hub
_WRONG_TIMES = 2


@dataclass
class Downloader:
    """Fetches files of one revision; what has come stays on the disk, whatever happens."""

    hub: Hub
    repository: str
    revision: str
    clock: Clock
    #: told the bytes of the file at hand, and in words when it waits
    progress: Callable[[int], None]
    say: Callable[[str], None]

    def fetch(self, path: str, facts: Facts, part: Path, target: Path) -> None:
        """``target`` becomes the file at ``path``; until it is whole and right it is ``part``.

        Raises:
            HubError: it cannot be had.
            OSError: the disk does not take it.
        """
        failures, wrong = 0, 0
        while True:
            before = _size(part)
            try:
                self._go_on(path, facts, part)
            except HubError as error:
                failures = 1 if _size(part) > before else failures + 1
                if not error.passes or failures >= TRIES:
                    raise
                self._wait(error, failures)
                continue
            problem = wrong_with(part, facts, lambda done: None)
            if not problem:
                break
            wrong += 1
            part.unlink()
            if wrong >= _WRONG_TIMES:
                raise HubError(f"{path} {problem}, {wrong} times in a row", passes=False)
            self.say(f"{path} {problem}; it is fetched anew")
        target.parent.mkdir(parents=True, exist_ok=True)
        part.rename(target)
        _sync_directory(target.parent)

    def _go_on(self, path: str, facts: Facts, part: Path) -> None:
        """Append what is missing of the file to ``part``; raises HubError when less comes."""
        start = _size(part)
        if start > facts.bytes:
            part.unlink()
            start = 0
        if start < facts.bytes or not part.exists():
            self._append(path, part, start, facts.bytes)
        if _size(part) < facts.bytes:
            raise HubError(f"{path} ends after {_size(part)} of {facts.bytes} bytes", passes=True)

    def _append(self, path: str, part: Path, start: int, limit: int) -> None:
        with (
            self.hub.open(self.repository, self.revision, path, start) as body,
            part.open("r+b" if part.exists() else "xb") as file,
        ):
            file.seek(body.start)
            file.truncate()
            done = body.start
            for chunk in body.chunks:
                file.write(chunk)
                done += len(chunk)
                self.progress(done)
                if done > limit:
                    break  # the checksum will tell
            file.flush()
            os.fsync(file.fileno())

    def _wait(self, error: HubError, failures: int) -> None:
        seconds = max(error.wait_seconds, _FIRST_WAIT_SECONDS * 2 ** (failures - 1))
        seconds = min(seconds, _LONGEST_WAIT_SECONDS)
        self.say(f"{error.message}; trying again in {seconds:.0f} s")
        self.clock.sleep(seconds)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
