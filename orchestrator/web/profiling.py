"""/profile: what each level of power gives, asked for and followed."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.power.profiler import ProfileView
from orchestrator.web.answers import answer
from orchestrator.web.backend import Backend
from orchestrator.web.describe import describes, text
from orchestrator.web.parameters import Query, read_body


class Profile:
    """The endpoints of the profiler."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """Below /api/v1."""
        return [
            Route("/profile", self.view, methods=["GET"]),
            Route("/profile", self.start, methods=["POST"]),
            Route("/profile/stop", self.stop, methods=["POST"]),
        ]

    @describes(ProfileView)
    async def view(self, request: Request) -> Response:
        """What each level of power gives, as far as it is measured."""
        Query(request, ())
        return answer(self._backend.profiler.view())

    @describes(ProfileView, status=202, body={"run": text("Which run.")}, required=("run",))
    async def start(self, request: Request) -> Response:
        """Measure every level on the run that computes now; it takes minutes."""
        body = await read_body(request, ("run",))
        run = body.required("run")
        await run_in_threadpool(self._backend.run, run)
        return answer(await run_in_threadpool(self._backend.profiler.start, run), 202)

    @describes(ProfileView, body={})
    async def stop(self, request: Request) -> Response:
        """End the profile; the power limit is what it was."""
        await read_body(request, ())
        return answer(await run_in_threadpool(self._backend.profiler.stop))
