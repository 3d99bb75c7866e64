"""Listens to the driver's Xid events, and remembers what decisions and readers ask for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.home.clock import Clock
from orchestrator.home.poller import Poller
from orchestrator.home.xid import XidEvent, XidSource
from orchestrator.power import xid_table

log = logging.getLogger(__name__)

#: how long a source is waited for at once: so long an end waits for its thread at most
_WAIT_SECONDS = 0.5
#: between two waits
_PAUSE_SECONDS = 0.05
#: a source that failed is left alone for so long
_LEAVE_ALONE_SECONDS = 30.0
#: one event comes out of both sources within milliseconds
_SAME_SECONDS = 5.0
#: a driver in trouble says the same a thousand times: one line in the journal is enough
_TOLD_AGAIN_SECONDS = 60.0
#: the newest that are remembered: a flood must not fill the memory
_REMEMBERED = 256


@dataclass(frozen=True)
class XidNews:
    """One event for the journal."""

    event: XidEvent

    @property
    def severity(self) -> str:
        """As the journal has it."""
        return "error" if xid_table.loses_the_card(self.event) else "warning"

    @property
    def message(self) -> str:
        """As the journal has it."""
        said = f" ({self.event.text})" if self.event.text else ""
        return f"The driver reports {xid_table.in_words(self.event.number)}{said}."


class XidWatch:
    """All sources of one card together, each in a thread of its own: a driver may hang."""

    def __init__(
        self,
        sources: Sequence[XidSource],
        clock: Clock,
        tell: Callable[[XidNews], None] = lambda news: None,
    ) -> None:
        """``tell`` is called from the threads."""
        self._sources = tuple(sources)
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._pollers: dict[str, Poller] = {}
        #: (when, number), oldest first, by monotonic seconds
        self._recent: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        #: who said a number last, and when
        self._said: dict[int, tuple[str, float]] = {}
        self._told_at: dict[int, float] = {}
        self._silent_until: dict[str, float] = {}
        self._counts: dict[int, int] = {}
        self._lost = ""

    def start(self) -> None:
        """Listen from now on."""
        for source in self._sources:
            listen = partial(self.listen, source)
            self._pollers[source.name] = Poller(f"xid-{source.name}", listen, _PAUSE_SECONDS)

    def close(self) -> None:
        """Listen no more; a source whose driver hangs keeps its thread, and what it holds."""
        for source in self._sources:
            poller = self._pollers.get(source.name)
            if poller is None or poller.close(patience_seconds=4 * _WAIT_SECONDS):
                source.close()

    def listen(self, source: XidSource, wait_seconds: float = _WAIT_SECONDS) -> None:
        """Ask one source once."""
        if self._clock.monotonic() < self._silent_until.get(source.name, float("-inf")):
            return
        try:
            events = source.read(wait_seconds)
        except OSError as error:
            if source.name not in self._silent_until:
                log.warning("no Xid events from the %s: %s", source.name, error)
            self._silent_until[source.name] = self._clock.monotonic() + _LEAVE_ALONE_SECONDS
            return
        self._silent_until.pop(source.name, None)
        for event in events:
            self._hear(event, source.name)

    def _hear(self, event: XidEvent, source: str) -> None:
        with self._lock:
            now, number = self._clock.monotonic(), event.number
            if xid_table.loses_the_card(event) and not self._lost:
                self._lost = xid_table.in_words(number)
            first, at = self._said.get(number, (source, now))
            if first != source and now - at < _SAME_SECONDS:
                return
            self._said[number] = (source, now)
            self._counts[number] = self._counts.get(number, 0) + 1
            self._recent.append((now, number))
            told_at = self._told_at.get(number)
            again = told_at is None or now - told_at >= _TOLD_AGAIN_SECONDS
            if again:
                self._told_at[number] = now
        if again:
            self._tell(XidNews(event))

    @property
    def lost(self) -> str:
        """The event by which the card was lost, in words; empty: none."""
        with self._lock:
            return self._lost

    def counts(self) -> dict[int, int] | None:
        """How many of each since the start; None where nobody tells."""
        with self._lock:
            return dict(self._counts) if self._sources else None

    def near(self, since_seconds: float) -> str:
        """What stands for a trainer's end among those after then (monotonic); empty: nothing."""
        with self._lock:
            numbers = [number for at, number in self._recent if at > since_seconds]
        number = xid_table.culprit(numbers)
        return "" if number is None else xid_table.in_words(number)
