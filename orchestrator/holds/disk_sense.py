"""disk: too little room for the next checkpoint, as a sense with a thread of its own."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.disk_room import Room, in_words, is_held
from orchestrator.holds.senses import Moment
from orchestrator.home.poller import Poller
from orchestrator.home.run_disk import RunDisk
from orchestrator.paths import Paths
from orchestrator.shelf import Shelf
from trainer.checkpoint import catalog

log = logging.getLogger(__name__)


class DiskSense:
    """Looks at the disk in a thread of its own, for a sick disk keeps whoever asks it waiting."""

    def __init__(self, paths: Paths, disk: RunDisk, shelf: Callable[[], Shelf]) -> None:
        """``shelf`` knows what retention could free, and frees it when it is asked to."""
        self._paths = paths
        self._disk = disk
        self._shelf = shelf
        self._lock = threading.Lock()
        self._run: str | None = None
        #: of which run, and what was seen
        self._seen: tuple[str, Room] | None = None
        self._held: Hold | None = None
        self._poller: Poller | None = None

    def start(self, every_seconds: float) -> None:
        """Look again and again."""
        self._poller = Poller("disk", self.ask, every_seconds)

    def close(self) -> None:
        """Look no more."""
        if self._poller is not None:
            self._poller.close()

    def ask(self) -> None:
        """Look once; an answer that makes no sense leaves the last one."""
        run = self._run
        if run is None:
            return
        try:
            room = self._look(run)
            if room.is_short and room.freeable_bytes:
                self._shelf().relieve(run)
        except Exception:
            # the store may lie on the same disk
            log.warning("the room for checkpoints of %s is not known", run, exc_info=True)
            return
        with self._lock:
            self._seen = (run, room)

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``."""
        with self._lock:
            if moment.run != self._run:
                self._run, self._seen, self._held = moment.run, None, None
            room = self._seen[1] if self._seen and self._seen[0] == moment.run else None
        held = is_held(
            self._held is not None, room, moment.unsaved_seconds, moment.most_lost_seconds
        )
        if not held:
            self._held = None
        elif room is not None:
            since = self._held.since if self._held else moment.now
            self._held = Hold(
                Reason.DISK, Effect.PAUSE, "disk", since, detail=in_words(room), run=moment.run
            )
        return (self._held,) if self._held else ()

    def _look(self, run: str) -> Room:
        run_dir = self._paths.run(run)
        place = _existing(catalog.checkpoints_dir(run_dir))
        newest = next(iter(catalog.list_checkpoints(run_dir)), None)
        size = newest.size_bytes if newest else None
        try:
            free = self._disk.free_bytes(place)
            if self._held is not None:
                self._disk.try_to_write(place)
        except OSError as error:
            return Room(0, size, problem=_words(error))
        room = Room(free, size)
        if room.is_short:
            return Room(free, size, self._shelf().freeable_bytes(run))
        return room


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _words(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "the file system is read-only"
    return os.strerror(error.errno) if error.errno else str(error)
