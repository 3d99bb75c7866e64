"""The OpenAPI document of the API, written from its routes (OpenAPI Specification 3.1.1)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain import SCHEMA
from orchestrator.version import VERSION
from orchestrator.web.answers import answer
from orchestrator.web.describe import Components, Description, Schema, description_of, text

PATH = "/api/openapi.json"
BASE = "/api/v1"

#: what any request may be told, and what only an order may
_ANY = {
    400: "The request itself is wrong.",
    401: "The daemon wants its token.",
    403: "Another site's page sent this, or a cookie came without its page.",
    404: "There is no such thing.",
    409: "Not as things are.",
    421: "The daemon does not go by this name.",
    422: "The configuration or the spec is wrong.",
    423: "Not now: something holds it.",
    429: "Too many wrong tokens; Retry-After tells when to try again.",
    503: "Not at the moment.",
}
_ORDERS = {
    408: "The body did not come in time.",
    413: "The body is too long.",
    415: "Orders come as JSON.",
}
_PROBLEM = {
    "error": {"kind": str, "message": str, "fix": str},
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of routes below ``BASE``, each described where it stands."""
    components = Components()
    components.schemas["Problem"] = components.schema_of(_PROBLEM)
    paths: dict[str, Any] = {}
    for route in routes:
        description = description_of(route.endpoint)
        if description is None:
            continue  # the tests find it; a daemon answers all the same
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            operation = _operation(route, method, description, components)
            paths.setdefault(BASE + route.path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "homerun",
            "version": VERSION,
            "description": f"Watch a training run and command it. Schema {SCHEMA}; times in UTC.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        # where no token is configured none is asked for
        "security": [{"token": []}, {"cookie": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "homerun"},
            },
        },
    }


def undescribed(routes: Sequence[Route]) -> list[str]:
    """Paths that the document leaves out because nobody described them."""
    return [route.path for route in routes if description_of(route.endpoint) is None]


def route_of(routes: Sequence[Route]) -> Route:
    """Serves the document."""
    content = document(routes)

    async def openapi(request: Request) -> Response:
        return answer(content)

    return Route(PATH, openapi)


def _operation(
    route: Route, method: str, description: Description, components: Components
) -> dict[str, Any]:
    words = inspect.getdoc(route.endpoint) or ""
    summary, _, rest = words.partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^a-z]+', '_', route.path).rstrip('_')}",
        "summary": " ".join(summary.split()).rstrip("."),
        "responses": _responses(method, description, components),
    }
    if rest:
        operation["description"] = " ".join(rest.split())
    parameters = [
        *(_parameter("path", name, text("Its name."), True) for name in route.param_convertors),
        *(_parameter("query", *item, False) for item in description.query.items()),
    ]
    if parameters:
        operation["parameters"] = parameters
    if description.body is not None:
        operation["requestBody"] = _body(description)
    return operation


def _parameter(place: str, name: str, schema: Schema, required: bool) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "schema": schema}


def _body(description: Description) -> dict[str, Any]:
    schema: Schema = {
        "type": "object",
        "properties": dict(description.body or {}),
        "additionalProperties": False,
    }
    if description.required:
        schema["required"] = list(description.required)
    required = bool(description.required)
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _responses(method: str, description: Description, components: Components) -> dict[str, Any]:
    schema = components.schema_of(description.answer)
    told = _ANY if method == "GET" else {**_ANY, **_ORDERS}
    good = {
        "description": "As asked.",
        "content": {description.media_type: {"schema": schema}},
    }
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(description.status): good,
        **{
            str(status): {"description": why, "content": problem}
            for status, why in sorted(told.items())
        },
    }
