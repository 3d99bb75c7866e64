"""GET: everything that can be read. Each answer is one look at the snapshot or the store."""

from __future__ import annotations

import platform
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain import SCHEMA, to_json
from orchestrator.ledger.summary import By
from orchestrator.schedule_report import LEAST_HOURS as LEAST_SCHEDULE_HOURS
from orchestrator.schedule_report import MOST_HOURS as MOST_SCHEDULE_HOURS
from orchestrator.schedule_report import USUAL_HOURS
from orchestrator.tariff.report import LEAST_HOURS, MOST_HOURS
from orchestrator.version import VERSION
from orchestrator.web.answers import answer
from orchestrator.web.backend import Backend
from orchestrator.web.logs import tail
from orchestrator.web.parameters import Query

MAX_ROWS = 10_000


class Reading:
    """The endpoints that change nothing."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """Below /api/v1."""
        return [
            Route("/status", self.status),
            Route("/runs", self.runs, methods=["GET"]),
            Route("/runs/{name}", self.run),
            Route("/runs/{name}/samples", self.samples),
            Route("/runs/{name}/checkpoints", self.checkpoints_of),
            Route("/checkpoints", self.checkpoints),
            Route("/journal", self.journal),
            Route("/logs", self.logs),
            Route("/prices", self.prices),
            Route("/energy", self.energy),
            Route("/schedule", self.schedule),
            Route("/schedule/curve", self.schedule_curve),
            Route("/config", self.config),
            Route("/version", self.version),
        ]

    async def status(self, request: Request) -> Response:
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.snapshot))

    async def runs(self, request: Request) -> Response:
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.runs))

    async def run(self, request: Request) -> Response:
        """The run's own fields, with its attempts beside them."""
        Query(request, ())
        name = request.path_params["name"]
        run = await run_in_threadpool(self._backend.run, name)
        attempts = await run_in_threadpool(self._backend.attempts, name)
        return answer({**to_json(run), "attempts": attempts})

    async def samples(self, request: Request) -> Response:
        limit = Query(request, ("limit",)).number("limit", 500, 1, MAX_ROWS)
        name = request.path_params["name"]
        return answer(await run_in_threadpool(self._backend.samples, name, limit))

    async def checkpoints_of(self, request: Request) -> Response:
        Query(request, ())
        name = request.path_params["name"]
        return answer(await run_in_threadpool(self._backend.checkpoints, name))

    async def checkpoints(self, request: Request) -> Response:
        run = Query(request, ("run",)).text("run")
        return answer(await run_in_threadpool(self._backend.checkpoints, run))

    async def journal(self, request: Request) -> Response:
        query = Query(request, ("after", "limit", "run"))
        entries = await run_in_threadpool(
            self._backend.journal,
            after=query.number("after", 0, 0),
            limit=query.number("limit", 100, 1, MAX_ROWS),
            run=query.text("run"),
        )
        return answer(entries)

    async def logs(self, request: Request) -> Response:
        query = Query(request, ("run", "lines"))
        lines = query.number("lines", 100, 1, MAX_ROWS)
        path, found = await run_in_threadpool(self._tail, query.text("run"), lines)
        return answer({"file": str(path), "lines": found})

    def _tail(self, run: str | None, lines: int) -> tuple[Path, list[str]]:
        path = self._backend.log_file(run)
        return path, tail(path, lines)

    async def prices(self, request: Request) -> Response:
        hours = Query(request, ("hours",)).number("hours", 48, LEAST_HOURS, MOST_HOURS)
        return answer(await run_in_threadpool(self._backend.prices, hours))

    async def energy(self, request: Request) -> Response:
        by = Query(request, ("by",)).choice("by", By.DAY)
        return answer(await run_in_threadpool(self._backend.energy, by))

    async def schedule(self, request: Request) -> Response:
        query = Query(request, ("hours",))
        hours = query.number("hours", USUAL_HOURS, LEAST_SCHEDULE_HOURS, MOST_SCHEDULE_HOURS)
        return answer(await run_in_threadpool(self._backend.schedule, hours))

    async def schedule_curve(self, request: Request) -> Response:
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.schedule_curve))

    async def config(self, request: Request) -> Response:
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.config_view))

    async def version(self, request: Request) -> Response:
        Query(request, ())
        return answer({"version": VERSION, "schema": SCHEMA, "python": platform.python_version()})
