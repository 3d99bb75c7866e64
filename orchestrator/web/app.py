"""The web side put together: page, API, streams, metrics, and the guard in front of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from orchestrator.errors import HomerunError
from orchestrator.home.clock import Clock, SystemClock
from orchestrator.web import charts, openapi
from orchestrator.web.answers import homerun_problem, http_problem, problem
from orchestrator.web.backend import Backend
from orchestrator.web.commands import Commands
from orchestrator.web.credentials import Credentials
from orchestrator.web.guard import SECURITY_HEADERS, Guard
from orchestrator.web.house import House
from orchestrator.web.limiter import Limiter
from orchestrator.web.login import Login
from orchestrator.web.metrics import build_registry
from orchestrator.web.profiling import Profile
from orchestrator.web.reading import Reading
from orchestrator.web.reloading import Reload, Reloading
from orchestrator.web.settings import Settings
from orchestrator.web.stream import Streams
from orchestrator.web.trail import Trail

STATIC = Path(__file__).parent / "static"


def build_app(
    backend: Backend,
    settings: Settings,
    registry: CollectorRegistry | None = None,
    *,
    clock: Clock | None = None,
    streams: Streams | None = None,
    reload: Reload | None = None,
) -> Starlette:
    """The ASGI app. ``app.state.streams`` must be closed before its server waits for requests.

    ``registry`` is what /metrics shows; by default the snapshot and the process. ``reload`` reads
    the configuration again.
    """
    clock = clock or SystemClock()
    streams = streams or Streams(backend)
    credentials = Credentials(settings.token, settings.metrics_token, clock)
    limiter = Limiter(clock)
    login, trail = Login(credentials, limiter, clock), Trail(backend, clock)
    registry = registry or build_registry(backend, clock)
    app = Starlette(
        routes=_routes(backend, clock, streams, registry, login, trail, Reloading(reload)),
        middleware=[Middleware(Guard, settings=settings, credentials=credentials, limiter=limiter)],
        exception_handlers={
            HomerunError: homerun_problem,
            HTTPException: http_problem,
            Exception: _unexpected,
        },
        lifespan=_lifespan(streams, trail),
    )
    app.state.streams = streams
    app.state.credentials = credentials
    app.state.trail = trail
    return app


def _routes(
    backend: Backend,
    clock: Clock,
    streams: Streams,
    registry: CollectorRegistry,
    login: Login,
    trail: Trail,
    reloading: Reloading,
) -> list[Route | Mount]:
    api = [
        *streams.routes(),
        *Reading(backend).routes(),
        *Commands(backend, clock).routes(),
        *Profile(backend).routes(),
        *login.api_routes(),
        *House(backend, trail).routes(),
        *reloading.routes(),
    ]
    return [
        *login.routes(),
        openapi.route_of(api),
        Route("/", _page),
        Route("/healthz", _healthy),
        Route("/metrics", _metrics(registry)),
        *charts.routes(),
        Mount("/static", _Static(directory=STATIC)),
        Mount("/api/v1", routes=api),
    ]


def _lifespan(
    streams: Streams,
    trail: Trail,
) -> Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await streams.open()
        trail.open()
        try:
            yield
        finally:
            await streams.closed()
            await run_in_threadpool(trail.close)

    return lifespan


async def _unexpected(request: Request, error: Exception) -> Response:
    """The answer for a bug of ours. The server logs the traceback; strangers do not get it.

    Starlette sends it from outside the guard, so it brings the guard's headers itself.
    """
    message = f"the daemon failed to answer: {type(error).__name__}"
    return problem(500, "internal", message, "its log tells more", SECURITY_HEADERS)


class _Static(StaticFiles):
    """Files that a browser asks about each time, so that an upgrade shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def _metrics(registry: CollectorRegistry) -> Callable[[Request], Awaitable[Response]]:
    async def metrics(request: Request) -> Response:
        generate, content_type = choose_encoder(request.headers.get("accept", ""))
        content = await run_in_threadpool(generate, registry)
        return Response(content, headers={"content-type": content_type})

    return metrics


async def _page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})
