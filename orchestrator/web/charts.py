"""uPlot, which draws the page's charts: taken out of an installed package, never a copy of ours.

The package ``youplot`` carries the files that uPlot's author published as 1.6.31, unchanged. Their
digests are pinned, so nothing else is ever served under their names, whatever that package becomes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.web.answers import problem

PACKAGE = "youplot"
_FIX = "reinstall what pyproject.toml asks for: pip install --editable . (or the wheel again)"


@dataclass(frozen=True)
class Part:
    """One file of uPlot 1.6.31, and what its author's release of it has as SHA-256."""

    place: str
    kind: str
    sha256: str


PARTS = {
    "uplot.js": Part(
        "youplot/vendor/uplot.iife.min.js",
        "text/javascript",
        "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    ),
    "uplot.css": Part(
        "youplot/vendor/uplot.min.css",
        "text/css",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ),
}


class NotTheOneError(Exception):
    """The file is missing, or it is not the one that we know."""


def read(part: Part) -> bytes:
    """The file's bytes, checked. Raises NotTheOneError."""
    try:
        # By its metadata: the package's own code is never imported.
        content = Path(str(metadata.distribution(PACKAGE).locate_file(part.place))).read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
        raise NotTheOneError(f"{part.place} is not here: {error}") from None
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise NotTheOneError(f"{part.place} is not the file of uPlot 1.6.31")
    return content


def routes() -> list[Route]:
    """The files, below /static. Without the files the page goes on without charts, and says so."""
    return [Route(f"/static/{name}", _serving(part)) for name, part in PARTS.items()]


def _serving(part: Part) -> Callable[[Request], Awaitable[Response]]:
    etag = f'"{part.sha256[:32]}"'
    headers = {"cache-control": "no-cache", "etag": etag}
    content, missing = b"", ""
    try:
        content = read(part)
    except NotTheOneError as error:
        missing = str(error)

    async def serve(request: Request) -> Response:
        if missing:
            return problem(503, "no_charts", f"no charts: {missing}", _FIX)
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=part.kind)

    return serve
