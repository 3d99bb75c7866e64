"""Answers: plain values and problems as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.domain import to_json
from orchestrator.errors import HomerunError

#: answers are the state of now: nobody may keep them
_FRESH = {"cache-control": "no-store"}


def answer(value: Any, status: int = 200) -> Response:
    """Any domain value, list or plain value as JSON."""
    return _json(to_json(value), status)


def problem(
    status: int, kind: str, message: str, fix: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """A problem in the one form that every client knows."""
    content = {"error": {"kind": kind, "message": message, "fix": fix}}
    return _json(content, status, headers)


def encode(value: Any) -> str:
    """Compact JSON on one line of ASCII. Refuses NaN, which is no JSON: ``to_json`` nulls it."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


async def homerun_problem(request: Request, error: Exception) -> Response:
    """The answer for a HomerunError."""
    assert isinstance(error, HomerunError), "registered for these only"
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
    return problem(error.http_status, kind, error.message, error.fix)


async def http_problem(request: Request, error: Exception) -> Response:
    """The answer for what Starlette refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException), "registered for these only"
    fix = "the page is at /, the API below /api/v1" if error.status_code == 404 else ""
    message = f"{request.method} {request.url.path}: {error.detail}"
    return problem(error.status_code, "http", message, fix, error.headers)


def _json(content: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        encode(content),
        status,
        headers={**_FRESH, **(headers or {})},
        media_type="application/json",
    )
