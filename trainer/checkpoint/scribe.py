"""The scribe: a process of its own that writes states to the disk. Free of torch.

``python -m trainer.checkpoint.scribe`` reads on its standard input one line that says whose scribe
it is, then one line for each slot or ring, and answers each with one line. It outlives its trainer:
at the end of its input it finishes what it is at, and leaves; of a ring, what the trainer had not
passed on before its death is lost, and nothing of that state is committed. It does not outlive its
guardians, the daemon above all: when one of them is gone it abandons what it is at. It works at
idle priority, under a lock of its own, and commits under the trainer's fencing token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from trainer.checkpoint import priority
from trainer.checkpoint.catalog import Entry, examine
from trainer.checkpoint.commit import SaveError, Stream, commit
from trainer.checkpoint.disk import REAL, Disk, fill, reading
from trainer.checkpoint.format import DamagedError, FileRecord, Manifest
from trainer.checkpoint.lease import Fenced, LeaseError, WriterLock
from trainer.checkpoint.ring import Outlet, Place
from trainer.clock import Clock, SystemClock
from trainer.contract.job import Guardian
from trainer.lifeline import Lifeline, kill_self

#: read, hashed and written at once; small enough for the processor's cache
_CHUNK_BYTES = 4 << 20
#: a write to a disk that hangs is left behind so long after a guardian's death
_ABANDON_SECONDS = 5.0


@dataclass(frozen=True)
class Mandate:
    """Whose scribe it is: the first line."""

    run_dir: str
    attempt: int
    guardians: tuple[Guardian, ...] = ()

    def to_line(self) -> str:
        """As one line; ``mandate_of`` reads it back."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


def mandate_of(line: str) -> Mandate:
    """Read the first line back."""
    plain = json.loads(line)
    guardians = tuple(Guardian(**item) for item in plain.pop("guardians"))
    return Mandate(**plain, guardians=guardians)


@dataclass(frozen=True)
class Order:
    """One slot to be written."""

    slot: str
    reason: str
    #: the newest checkpoint on the disk
    parent: str | None

    def to_line(self) -> str:
        """As one line."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


@dataclass(frozen=True)
class Answer:
    """What became of an order. ``kind`` is empty when it is committed, else as in SaveError."""

    #: of the checkpoint
    name: str = ""
    #: from the first byte to the commit
    seconds: float = 0.0
    kind: str = ""
    message: str = ""

    def to_line(self) -> str:
        """As one line."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


class Scribe:
    """Writes one state at a time, as long as its time is not over."""

    def __init__(
        self, lock: WriterLock, *, disk: Disk = REAL, chunk_bytes: int = _CHUNK_BYTES
    ) -> None:
        self._lock = lock
        self._disk = disk
        self._chunk_bytes = chunk_bytes
        self._deserted = False
        #: held while a state is being written
        self._busy = threading.Lock()

    def write(self, order: Order) -> Entry:
        """Commit what is in the slot; it must stay as it is until the return.

        Raises:
            SaveError: nothing was committed; of kind "damaged" when the slot is not whole.
        """
        with self._busy:
            try:
                slot = examine(Path(order.slot))
            except (DamagedError, OSError) as error:
                raise SaveError("damaged", f"the state in memory is not whole: {error}") from error
            manifest = dataclasses.replace(
                slot.manifest, reason=order.reason, parent=order.parent, files={}
            )
            streams = [
                self._of_slot(slot.path / name, record)
                for name, record in slot.manifest.files.items()
            ]
            return self._commit(streams, manifest)

    def stream(self, place: Place) -> Entry:
        """Commit what comes through the ring, after the last of it has come; close our end.

        Raises:
            SaveError: nothing was committed.
        """
        outlet = Outlet(place, self)
        try:
            with self._busy:
                manifest, sizes = outlet.head()
                streams = [_of_ring(outlet, name, size) for name, size in sizes.items()]
                return self._commit(streams, manifest)
        except Fenced as error:
            raise SaveError(error.kind, str(error)) from error
        finally:
            outlet.close()

    def _commit(self, streams: list[Stream], manifest: Manifest) -> Entry:
        return commit(self._lock.run_dir, streams, manifest, guard=self, disk=self._disk)

    def _of_slot(self, path: Path, record: FileRecord) -> Stream:
        return Stream(path.name, record.size_bytes, self._read(path), lambda: record)

    def _read(self, path: Path) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(self._chunk_bytes))
        with reading(REAL, path) as handle:
            while count := fill(REAL, handle, buffer):
                self.check()
                yield buffer[:count]

    def check(self) -> None:
        """Raises Fenced when nothing more may be written."""
        if self._deserted:
            raise Fenced("the daemon above the writer is gone")
        self._lock.check()

    def desert(self) -> None:
        """A guardian is gone: abandon what is being written, and end the process."""
        self._deserted = True
        if not self._busy.acquire(timeout=_ABANDON_SECONDS):
            kill_self()
        os._exit(0)


def _of_ring(outlet: Outlet, name: str, size_bytes: int) -> Stream:
    found: list[FileRecord] = []
    return Stream(name, size_bytes, outlet.file(size_bytes, found), lambda: found[0])


def serve(lines: TextIO, say: Callable[[Answer], None], clock: Clock) -> None:
    """Carry out orders until there are no more.

    Raises:
        LeaseError: another writer lives on the run, or a newer attempt owns it.
    """
    mandate = mandate_of(lines.readline())
    scribe = Scribe(WriterLock(Path(mandate.run_dir), mandate.attempt))
    if mandate.guardians:
        Lifeline(mandate.guardians, scribe.desert).start()
    for line in lines:
        begin = clock.monotonic()
        try:
            name = _carry_out(scribe, json.loads(line)).name
        except SaveError as error:
            say(Answer(kind=error.kind, message=error.message))
        else:
            say(Answer(name, clock.monotonic() - begin))


def _carry_out(scribe: Scribe, plain: dict[str, Any]) -> Entry:
    return scribe.write(Order(**plain)) if "slot" in plain else scribe.stream(Place(**plain))


def _say(answer: Answer) -> None:
    # nothing is left in a buffer when the trainer is gone: what it had ordered is done
    with contextlib.suppress(BrokenPipeError):
        os.write(1, answer.to_line().encode())


def main() -> int:
    """The process: orders on standard input, answers on standard output."""
    # a terminal and systemd tell everybody to stop; the end of the input is what counts here
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    priority.become_idle()
    try:
        serve(sys.stdin, _say, SystemClock())
    except LeaseError as error:
        _say(Answer(kind="fenced", message=str(error)))
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
