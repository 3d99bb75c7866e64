"""What the page needs beside the snapshot: the house, validations, the order of the queue."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain import Run
from orchestrator.errors import Invalid
from orchestrator.surroundings import Surroundings
from orchestrator.web.answers import answer
from orchestrator.web.backend import Backend
from orchestrator.web.commands import MAX_PRIORITY, source_of
from orchestrator.web.describe import describes, text, whole
from orchestrator.web.parameters import Query, read_body
from orchestrator.web.trail import Point, Trail
from trainer.checkpoint.retention import Choice


class House:
    """Endpoints over the backend and the trail."""

    def __init__(self, backend: Backend, trail: Trail) -> None:
        self._backend = backend
        self._trail = trail

    def routes(self) -> list[Route]:
        """Below /api/v1."""
        return [
            Route("/surroundings", self.surroundings),
            Route("/trail", self.trail),
            Route("/checkpoints/retention", self.retention),
            Route("/runs/{name}/scores", self.scores),
            Route("/runs/{name}/priority", self.priority, methods=["POST"]),
        ]

    @describes(Surroundings)
    async def surroundings(self, request: Request) -> Response:
        """The card, the UPS, the room on the disks, the messages."""
        Query(request, ())
        return answer(await run_in_threadpool(self._backend.surroundings))

    @describes(list[Point])
    async def trail(self, request: Request) -> Response:
        """Power and temperature since the daemon started, at most a day of it."""
        Query(request, ())
        return answer(self._trail.points())

    @describes(list[Choice], query={"run": text("Whose; the current run unless given.")})
    async def retention(self, request: Request) -> Response:
        """Which checkpoints would stay, which would go, and why."""
        run = Query(request, ("run",)).text("run")
        return answer(await run_in_threadpool(self._backend.plan_retention, run))

    @describes(list[dict[str, float]])
    async def scores(self, request: Request) -> Response:
        """Every validation, oldest first: the samples are thinned, these are not."""
        Query(request, ())
        found = await run_in_threadpool(self._backend.scores, request.path_params["name"])
        return answer([{"step": step, "bits_per_byte": found[step]} for step in sorted(found)])

    @describes(
        Run, body={"priority": whole(-MAX_PRIORITY, MAX_PRIORITY, 0)}, required=("priority",)
    )
    async def priority(self, request: Request) -> Response:
        """A new place in the queue for a run that waits."""
        body = await read_body(request, ("priority",))
        if not body.has("priority"):
            raise Invalid("priority: missing")
        priority = body.number("priority", 0, -MAX_PRIORITY, MAX_PRIORITY)
        name = request.path_params["name"]
        run = await run_in_threadpool(self._backend.prioritize, name, priority, source_of(request))
        return answer(run)
