"""Server-sent events: the snapshot after each change, the journal, the trainer's log.

One thread waits for the backend and wakes all streams; a snapshot is encoded once, however many
read it, and a slow reader misses snapshots but no journal entry. Only journal entries carry an
id, so a reader that comes back with ``Last-Event-ID`` gets every entry that it has missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from orchestrator.domain import JournalEntry, Snapshot, to_json
from orchestrator.errors import HomerunError, Invalid, NotFound
from orchestrator.web.answers import encode
from orchestrator.web.backend import Backend
from orchestrator.web.describe import describes, text, whole
from orchestrator.web.logs import Follower
from orchestrator.web.parameters import Query

log = logging.getLogger(__name__)

#: open streams, all kinds together
MAX_CLIENTS = 32
#: a comment after so long a silence, so that both ends notice a dead line
HEARTBEAT_SECONDS = 15.0
#: no reader needs more snapshots than four a second
PACE_SECONDS = 0.25
LOG_POLL_SECONDS = 0.5
#: journal entries fetched at once
PAGE = 500

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_HEARTBEAT = ": heartbeat\n\n"
#: what a browser waits before it comes back, in milliseconds
_RETRY = "retry: 2000\n\n"


class TooManyClients(HomerunError):
    """All places are taken."""

    exit_code = 75
    http_status = 503


def frame(event: str, value: object, number: int | None = None) -> str:
    """One event. ``value`` becomes JSON on one line."""
    name = f"id: {number}\n" if number is not None else ""
    return f"{name}event: {event}\ndata: {encode(to_json(value))}\n\n"


class Streams:
    """All open streams. ``open`` and ``close`` frame the life of the event loop that serves them.

    ``heartbeat_seconds`` and ``max_clients`` are for tests and for small machines.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        max_clients: int = MAX_CLIENTS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._backend = backend
        self._max_clients = max_clients
        self._heartbeat_seconds = heartbeat_seconds
        self._clients = 0
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pump: threading.Thread | None = None
        self._wake = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._status = ""

    def routes(self) -> list[Route]:
        """Below /api/v1."""
        return [
            Route("/stream", self.stream, methods=["GET"]),
            Route("/logs/stream", self.log_stream, methods=["GET"]),
        ]

    @property
    def clients(self) -> int:
        """Streams that are open now."""
        return self._clients

    # --- life -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start to listen to the backend, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._pump = threading.Thread(target=self._listen, name="web-stream", daemon=True)
        self._pump.start()

    def close(self) -> None:
        """End all streams and refuse new ones. From any thread, any number of times."""
        self._stopping.set()
        if self._loop is not None:
            # The loop may be gone already, with all its streams.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake_all)

    async def closed(self) -> None:
        """Close, and wait for the thread's end."""
        self.close()
        if self._pump is not None:
            await run_in_threadpool(self._pump.join)

    def _listen(self) -> None:
        seen: datetime | None = None
        while not self._stopping.is_set():
            try:
                snapshot = self._backend.wait_for_change(seen, PACE_SECONDS)
                if snapshot.time != seen:
                    seen = snapshot.time
                    self._publish(snapshot, frame("status", snapshot))
            except Exception:
                log.exception("the streams cannot read the snapshot")
            self._stopping.wait(PACE_SECONDS)

    def _publish(self, snapshot: Snapshot, status: str) -> None:
        assert self._loop is not None, "open() comes first"
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, snapshot, status)

    async def _refresh(self) -> None:
        """Do not greet a new reader with what was true a moment ago."""
        snapshot = await run_in_threadpool(self._backend.snapshot)
        if self._snapshot is None or snapshot.time != self._snapshot.time:
            self._put(snapshot, frame("status", snapshot))

    def _put(self, snapshot: Snapshot, status: str) -> None:
        self._snapshot, self._status = snapshot, status
        self._wake_all()

    def _wake_all(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    async def _sleep(self, seconds: float) -> bool:
        """Wait for a wake-up; False when none came in time."""
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return False
        return True

    # --- places -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, for as long as a stream lasts."""
        if self._stopping.is_set():
            raise TooManyClients("the daemon is stopping", "try again when it is back")
        if self._clients >= self._max_clients:
            raise TooManyClients(
                f"{self._clients} streams are open, which is all there may be",
                "close a page or a 'homerun ... -f' that nobody looks at",
            )
        self._clients += 1
        try:
            yield
        finally:
            self._clients -= 1

    # --- snapshot and journal ---------------------------------------------------------------

    @describes(
        str,
        query={"run": text("Leave the journal of other runs out.")},
        media_type="text/event-stream",
    )
    async def stream(self, request: Request) -> Response:
        """Events ``status`` (the snapshot) and ``journal`` (one entry, with its id).

        ``run`` leaves the journal of other runs out.
        """
        run = Query(request, ("run",)).text("run")
        if run is not None:
            await run_in_threadpool(self._backend.run, run)
        after = await self._starting_point(request.headers.get("last-event-id"))
        await self._refresh()
        return _Stream(self, self._events(after, run))

    async def _starting_point(self, last_event_id: str | None) -> int:
        newest = await self._newest_id()
        if not last_event_id:
            return newest
        if not (last_event_id.isascii() and last_event_id.isdecimal()):
            raise Invalid(f"Last-Event-ID: must be the id of an entry, not {last_event_id[:40]!r}")
        # A number from the future is from another store: waiting for it would last for ever.
        return min(int(last_event_id[:20]), newest)

    async def _newest_id(self) -> int:
        newest = await run_in_threadpool(self._backend.journal, after=0, limit=1)
        return newest[-1].id if newest else 0

    async def _events(self, after: int, run: str | None) -> AsyncGenerator[str, None]:
        yield _RETRY
        shown: Snapshot | None = None
        while not self._stopping.is_set():
            woken = self._snapshot is not shown or await self._sleep(self._heartbeat_seconds)
            if not woken:
                yield _HEARTBEAT
            elif self._snapshot is not None and self._snapshot is not shown:
                shown = self._snapshot
                yield self._status
                async for entry in self._missed(shown, after, run):
                    after = entry.id
                    yield frame("journal", entry, entry.id)

    async def _missed(
        self, shown: Snapshot, after: int, run: str | None
    ) -> AsyncIterator[JournalEntry]:
        """The entries above ``after``, if the snapshot knows of any."""
        while shown.journal and shown.journal[-1].id > after:
            page = await run_in_threadpool(self._backend.journal, after=after, limit=PAGE, run=run)
            for entry in page:
                after = entry.id
                yield entry
            if not page:
                return

    # --- log --------------------------------------------------------------------------------

    @describes(
        str,
        query={"run": text("Whose log."), "lines": whole(0, 10_000, 10)},
        media_type="text/event-stream",
    )
    async def log_stream(self, request: Request) -> Response:
        """Events ``line``: the log's last ``lines`` lines, then each new one, as plain text."""
        query = Query(request, ("run", "lines"))
        run, lines = query.text("run"), query.number("lines", 10, 0, 10_000)
        follower = Follower(lambda: self._backend.log_file(run))
        try:
            first = await run_in_threadpool(follower.start, lines)
        except BaseException:
            follower.close()
            raise
        return _Stream(self, self._lines(follower, first), follower.close)

    async def _lines(self, follower: Follower, found: list[str]) -> AsyncGenerator[str, None]:
        silent_seconds = 0.0
        yield _RETRY
        while not self._stopping.is_set():
            if found:
                silent_seconds = 0.0
                yield "".join(f"event: line\ndata: {line}\n\n" for line in found)
            elif silent_seconds >= self._heartbeat_seconds:
                silent_seconds = 0.0
                yield _HEARTBEAT
            await self._sleep_through(LOG_POLL_SECONDS)
            silent_seconds += LOG_POLL_SECONDS
            found = await run_in_threadpool(_read_if_there, follower)

    async def _sleep_through(self, seconds: float) -> None:
        """Wait the whole time, whatever is published meanwhile; a close ends it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._stopping.is_set() and (left := end - loop.time()) > 0:
            await self._sleep(left)


def _read_if_there(follower: Follower) -> list[str]:
    try:
        return follower.read()
    except NotFound:
        # The run was there when the stream began; it may come back.
        return []


class _Stream(StreamingResponse):
    """Holds a place while it is sent; lets go of everything at its end, however it comes."""

    def __init__(
        self,
        streams: Streams,
        events: AsyncGenerator[str, None],
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(events, headers=_HEADERS, media_type="text/event-stream")
        self._streams = streams
        self._events = events
        self._let_go = let_go

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._streams.place():
                if scope["method"] == "HEAD":
                    await Response(headers=_HEADERS)(scope, receive, send)
                else:
                    await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
            self._let_go()
