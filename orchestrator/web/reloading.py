"""POST /config/reload: homerun.toml is read again."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.errors import Refused
from orchestrator.settings.reload import Reloaded
from orchestrator.web.answers import answer
from orchestrator.web.commands import source_of
from orchestrator.web.describe import describes
from orchestrator.web.parameters import read_body

#: by whom it was asked for; raises as ``Reloader.reload``
Reload = Callable[[str], Reloaded]


class Reloading:
    """The endpoint; ``reload`` None where no file was ever read."""

    def __init__(self, reload: Reload | None) -> None:
        self._reload = reload

    def routes(self) -> list[Route]:
        """Below /api/v1."""
        return [Route("/config/reload", self.reload, methods=["POST"])]

    @describes(Reloaded, body={})
    async def reload(self, request: Request) -> Response:
        """Read the configuration again, and apply what can be applied while the daemon runs.

        When it is wrong the old one stays in use.
        """
        await read_body(request, ())
        if self._reload is None:
            raise Refused("this daemon has no configuration to read again", "start it anew")
        return answer(await run_in_threadpool(self._reload, source_of(request)))
