"""The daemon's main loop: ticks on a cadence and whenever something happened that matters."""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable
from functools import partial

from orchestrator.engine.base import EngineLost, TrainerEvent, TrainerExited
from orchestrator.store import StoreFailed
from orchestrator.supervisor import Item, Supervisor
from trainer.contract import messages as m

log = logging.getLogger(__name__)

#: a trainer's word after which the supervisor may have to act; the others wait for the next tick
_DECISIVE = (m.Hello, m.Ready, m.Finished, m.Stopped, m.Failed)
#: a drain whose trainer is gone waits so long for a store in which that cannot be written down; the
#: next start finds it out by itself, and a machine that goes down waits for us
_WRITES_LAST_WORDS_SECONDS = 60.0


class MainLoop:
    """Drives one supervisor until it is drained.

    A store that fails (a full disk, a database that is away) stops neither the training nor the
    daemon: the item that could not be written down is kept and tried again, in order, before
    anything newer is taken. What comes meanwhile is a sign of life all the same.
    """

    def __init__(self, supervisor: Supervisor, tick_seconds: float) -> None:
        self._s = supervisor
        self._tick_seconds = tick_seconds
        self._kept: deque[Item] = deque()
        #: since when the oldest of them waits, by monotonic seconds
        self._kept_since = 0.0

    def run_until_drained(self) -> None:
        """Returns when a drain is complete and nothing runs any more."""
        while not (self._s.draining and self._s.life is None) and not self._must_give_up():
            healthy = self._try(self._s.tick)
            self._listen(until=self._s.clock.monotonic() + self._tick_seconds, healthy=healthy)
        self._s.close()

    def _must_give_up(self) -> bool:
        if not self._kept:
            return False
        waited = self._s.clock.monotonic() - self._kept_since
        gone = any(isinstance(item, TrainerExited | EngineLost) for item in self._kept)
        late = self._s.draining and gone and waited >= _WRITES_LAST_WORDS_SECONDS
        return self._s.hurried or late

    def _listen(self, until: float, *, healthy: bool) -> None:
        """Take items until the next tick is due, or one came that a tick must answer."""
        clock = self._s.clock
        while (left := until - clock.monotonic()) > 0:
            if self._kept and not healthy:
                self._keep_what_came()
                clock.sleep(left)
                return
            item = self._kept[0] if self._kept else clock.get(self._s.inbox, left)
            if item is None:
                return
            taken = self._try(partial(self._s.take, item))
            if taken and self._kept:
                self._kept.popleft()
            elif not taken and not self._kept:
                self._kept.append(item)
                self._kept_since = clock.monotonic()
            if not taken or is_decisive(item):
                return

    def _keep_what_came(self) -> None:
        """Else a trainer that is heard and not listened to would be taken for one that hangs."""
        while True:
            try:
                item = self._s.inbox.get_nowait()
            except queue.Empty:
                return
            self._kept.append(item)
            if isinstance(item, TrainerEvent):
                self._s.listener.notice(item)

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except StoreFailed as error:
            log.error("%s; tried again with the next tick", error.message)
            self._s.cannot_write(error.message)
            return False
        return True


def is_decisive(item: Item) -> bool:
    """Whether a tick should follow at once."""
    return not isinstance(item, TrainerEvent) or isinstance(item.event, _DECISIVE)
