"""GET: everything that can be read. Each answer is one look at the snapshot or the store."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain import (
    SCHEMA,
    Attempt,
    JournalEntry,
    Run,
    Sample,
    ShelvedCheckpoint,
    Snapshot,
    to_json,
)
from orchestrator.ledger.summary import By, EnergySummary
from orchestrator.piloting.schedule_report import LEAST_HOURS as LEAST_SCHEDULE_HOURS
from orchestrator.piloting.schedule_report import MOST_HOURS as MOST_SCHEDULE_HOURS
from orchestrator.piloting.schedule_report import USUAL_HOURS, CurveReport, ScheduleReport
from orchestrator.tariff.report import LEAST_HOURS, MOST_HOURS, PricesReport
from orchestrator.version import VERSION
from orchestrator.web.answers import answer
from orchestrator.web.backend import Backend
from orchestrator.web.describe import choice, describes, fields_of, text, whole
from orchestrator.web.logs import tail
from orchestrator.web.parameters import BIGGEST, Query

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

    @describes(Snapshot)
    async def status(self, request: Request) -> Response:
        """The daemon and its runs as they are now."""
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.snapshot))

    @describes(list[Run])
    async def runs(self, request: Request) -> Response:
        """All runs, newest first."""
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.runs))

    @describes({**fields_of(Run), "attempts": list[Attempt]})
    async def run(self, request: Request) -> Response:
        """The run's own fields, with its attempts beside them."""
        Query(request, ())
        name = request.path_params["name"]
        run = await run_in_threadpool(self._backend.run, name)
        attempts = await run_in_threadpool(self._backend.attempts, name)
        return answer({**to_json(run), "attempts": attempts})

    @describes(list[Sample], query={"limit": whole(1, MAX_ROWS, 500)})
    async def samples(self, request: Request) -> Response:
        """What was measured during a run, oldest first."""
        limit = Query(request, ("limit",)).number("limit", 500, 1, MAX_ROWS)
        name = request.path_params["name"]
        return answer(await run_in_threadpool(self._backend.samples, name, limit))

    @describes(list[ShelvedCheckpoint])
    async def checkpoints_of(self, request: Request) -> Response:
        """The checkpoints of a run, newest first."""
        Query(request, ())
        name = request.path_params["name"]
        return answer(await run_in_threadpool(self._backend.checkpoints, name))

    @describes(list[ShelvedCheckpoint], query={"run": text("Whose; the current run unless given.")})
    async def checkpoints(self, request: Request) -> Response:
        """The checkpoints of a run, newest first."""
        run = Query(request, ("run",)).text("run")
        return answer(await run_in_threadpool(self._backend.checkpoints, run))

    @describes(
        list[JournalEntry],
        query={
            "after": whole(0, BIGGEST, 0, "Entries with a higher id, oldest first."),
            "limit": whole(1, MAX_ROWS, 100),
            "run": text("Only of this run."),
        },
    )
    async def journal(self, request: Request) -> Response:
        """What happened and why."""
        query = Query(request, ("after", "limit", "run"))
        entries = await run_in_threadpool(
            self._backend.journal,
            after=query.number("after", 0, 0),
            limit=query.number("limit", 100, 1, MAX_ROWS),
            run=query.text("run"),
        )
        return answer(entries)

    @describes(
        {"file": str, "lines": list[str]},
        query={
            "run": text("Whose; the current run unless given."),
            "lines": whole(1, MAX_ROWS, 100),
        },
    )
    async def logs(self, request: Request) -> Response:
        """The last lines of the trainer's log."""
        query = Query(request, ("run", "lines"))
        lines = query.number("lines", 100, 1, MAX_ROWS)
        path, found = await run_in_threadpool(self._tail, query.text("run"), lines)
        return answer({"file": str(path), "lines": found})

    def _tail(self, run: str | None, lines: int) -> tuple[Path, list[str]]:
        path = self._backend.log_file(run)
        return path, tail(path, lines)

    @describes(PricesReport, query={"hours": whole(LEAST_HOURS, MOST_HOURS, 48)})
    async def prices(self, request: Request) -> Response:
        """The prices of the next hours."""
        hours = Query(request, ("hours",)).number("hours", 48, LEAST_HOURS, MOST_HOURS)
        return answer(await run_in_threadpool(self._backend.prices, hours))

    @describes(EnergySummary, query={"by": choice(By.DAY)})
    async def energy(self, request: Request) -> Response:
        """Energy and money."""
        by = Query(request, ("by",)).choice("by", By.DAY)
        return answer(await run_in_threadpool(self._backend.energy, by))

    @describes(
        ScheduleReport,
        query={"hours": whole(LEAST_SCHEDULE_HOURS, MOST_SCHEDULE_HOURS, USUAL_HOURS)},
    )
    async def schedule(self, request: Request) -> Response:
        """What the plan does in the next hours."""
        query = Query(request, ("hours",))
        hours = query.number("hours", USUAL_HOURS, LEAST_SCHEDULE_HOURS, MOST_SCHEDULE_HOURS)
        return answer(await run_in_threadpool(self._backend.schedule, hours))

    @describes(CurveReport)
    async def schedule_curve(self, request: Request) -> Response:
        """What another finish would cost."""
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.schedule_curve))

    @describes(dict[str, Any])
    async def config(self, request: Request) -> Response:
        """The configuration that counts, secrets masked."""
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.config_view))

    @describes({"version": str, "schema": int, "python": str})
    async def version(self, request: Request) -> Response:
        """Which homerun this is."""
        Query(request, ())
        return answer({"version": VERSION, "schema": SCHEMA, "python": platform.python_version()})
