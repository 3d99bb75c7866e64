"""uvicorn in a thread of its own: bound when built, so that the address is known from the start."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from orchestrator.errors import HomerunError, Misconfigured, Refused
from orchestrator.settings.config import Config
from orchestrator.web.app import build_app
from orchestrator.web.backend import Backend
from orchestrator.web.credentials import Credentials
from orchestrator.web.guard import check_bind
from orchestrator.web.patience import PatientProtocol
from orchestrator.web.reloading import Reload
from orchestrator.web.settings import Settings, settings_of
from orchestrator.web.stream import Streams
from orchestrator.web.tls import Tls

log = logging.getLogger(__name__)

#: what a request may still take when the daemon ends
_GRACE_SECONDS = 1
_START_TIMEOUT_SECONDS = 30.0
_HANDSHAKE_SECONDS = 10.0


class WebServer:
    """Listens on ``host``:``port`` (0: any free one); answers from ``start`` to ``stop``.

    ``protocol`` is for tests that cannot wait.

    Raises:
        Refused: the port is taken, or belongs to root.
        Misconfigured: the host is no address of this machine.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: Tls | None = None,
        protocol: type[PatientProtocol] = PatientProtocol,
    ) -> None:
        self._host = host
        self.tls = tls
        self._protocol = protocol
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._streams: Streams | None = None
        self._credentials: Credentials | None = None

    @property
    def url(self) -> str:
        """The page's address, without a slash at its end."""
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - where to look, not where to listen
        scheme = "https" if self.tls else "http"
        return (
            f"{scheme}://[{name}]:{self.port}" if ":" in name else f"{scheme}://{name}:{self.port}"
        )

    def start(self, backend: Backend, config: Config, reload: Reload | None = None) -> None:
        """Build the app for a configuration and serve it.

        Raises:
            Misconfigured: other machines could reach us without a token.
        """
        settings = settings_of(config.web)
        check_bind(self._host, settings.token)
        self.serve(build_app(backend, settings, reload=reload))

    def use_tokens(self, settings: Settings) -> None:
        """Other tokens from now on. From any thread."""
        if self._credentials is not None:
            self._credentials.replace(settings.token, settings.metrics_token)

    def serve(self, app: Starlette) -> None:
        """Serve an app of ``build_app``; returns when it answers."""
        assert self._server is None, "a server is started once"
        self._streams, self._credentials = app.state.streams, app.state.credentials
        self._server = server = _Server(_uvicorn_config(app, self._protocol, self.tls))
        self._thread = threading.Thread(
            target=server.live, args=(self._socket,), name="web", daemon=True
        )
        self._thread.start()
        if not server.answers.wait(_START_TIMEOUT_SECONDS) or not server.started:
            self.stop()
            raise HomerunError("the web server did not start", "the daemon's log tells more")

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the streams, finish what is being answered, let go of the port. Idempotent."""
        if self._streams is not None:
            # uvicorn waits for open requests, and a stream would never end by itself.
            self._streams.close()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout_seconds)
            if self._thread.is_alive():
                log.warning("the web server did not end within %g s", timeout_seconds)
                self._server.force_exit = True
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """Says when it answers, or that it never will."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = threading.Event()

    def live(self, listening: socket.socket) -> None:
        """The thread's body."""
        # uvicorn leaves by SystemExit when the app does not start; it has logged why.
        with contextlib.suppress(SystemExit):
            self.run(sockets=[listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is not None:
            # asyncio would wait a minute for a handshake that never comes.
            loop = asyncio.get_running_loop()
            loop.create_server = functools.partial(  # type: ignore[method-assign]  # uvicorn passes no timeout
                loop.create_server, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        try:
            await super().startup(sockets)
        finally:
            self.answers.set()


def _uvicorn_config(
    app: Starlette, protocol: type[PatientProtocol], tls: Tls | None
) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=protocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        # The daemon has set logging up; requests are no news.
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    # uvicorn's own way takes file names, and could not be told of new ones.
    config.ssl = tls.context if tls else None
    return config


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _no_such_host(host, str(error)) from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        # A port whose last connections are still closing is free for us.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise _why_not(error, host, port) from None
    return listening


def _why_not(error: OSError, host: str, port: int) -> HomerunError:
    if error.errno == errno.EADDRINUSE:
        return Refused(
            f"port {port} on {host} is taken by another program",
            "'homerun status' tells whether it is another homerun; or set web.port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refused(f"port {port} may only be opened by root", "set web.port to 1024 or more")
    if error.errno == errno.EADDRNOTAVAIL:
        return _no_such_host(host, "not an address of this machine")
    return HomerunError(f"cannot listen on {host}:{port}: {error.strerror}", "set web.host")


def _no_such_host(host: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"web.host {host!r} cannot be listened on: {why}", "set web.host to 127.0.0.1"
    )
