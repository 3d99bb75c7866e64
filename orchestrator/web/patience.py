"""HTTP connections that do not wait for ever, and of which there are never too many.

uvicorn closes a connection that is idle between two requests. It does not close one whose request
never ends, and it takes as many as there are file handles, which the rest of the daemon needs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.web.limiter import place_of

log = logging.getLogger(__name__)

#: a request's head must be whole after so long
HEAD_SECONDS = 10.0
#: open connections, all together and from one address
MAX_CONNECTIONS = 192
MAX_CONNECTIONS_EACH = 96


class PatientProtocol(H11Protocol):
    """Subclasses may set the limits, for tests."""

    head_seconds = HEAD_SECONDS
    max_connections = MAX_CONNECTIONS
    max_connections_each = MAX_CONNECTIONS_EACH

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # One-time links stand in addresses; what others do to logging must not bring them out.
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._crowded():
            log.debug("too many connections: one was closed")
            transport.abort()
            return
        self._expect_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_a_head()

    def _crowded(self) -> bool:
        here = [cast(PatientProtocol, one) for one in self.connections]
        ours = place_of(self.client[0]) if self.client else ""
        same = sum(1 for one in here if one.client and place_of(one.client[0]) == ours)
        return len(here) > self.max_connections or same > self.max_connections_each

    def _expect_a_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.head_seconds, self._too_late)

    def _too_late(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if not answering:
            self.transport.close()
