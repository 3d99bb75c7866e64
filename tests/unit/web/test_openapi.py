"""The API's own document: complete, true, and fuzzed by schemathesis against a real server."""

from __future__ import annotations

import copy
import dataclasses
import enum
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from jsonschema import Draft202012Validator
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.requests import Request
from starlette.routing import Route

from orchestrator.domain import Hold, to_json
from orchestrator.home.clock import FakeClock
from orchestrator.web.app import build_app
from orchestrator.web.describe import Components, describes
from orchestrator.web.fake import FakeBackend
from orchestrator.web.openapi import PATH, document, undescribed
from orchestrator.web.settings import Settings
from orchestrator.web.stream import Streams

from .conftest import Site, Stop, open_site

TOKEN = "correct-horse-battery"
STREAMS = ("/api/v1/stream", "/api/v1/logs/stream")


def api_routes() -> list[Route]:
    app = build_app(FakeBackend(FakeClock()), Settings())
    api = next(route for route in app.routes if getattr(route, "path", "") == "/api/v1")
    return list(api.routes)  # type: ignore[attr-defined]  # a Mount has routes


DOCUMENT = document(api_routes())


@pytest.fixture(scope="module")
def guarded(stopping: Stop) -> Iterator[Site]:
    """One server for the whole fuzz, behind its token; its run is under way."""
    clock = FakeClock()
    backend = FakeBackend(clock, step=300)
    with ExitStack() as stack:
        site = open_site(stack, stopping, backend, clock, Settings(token=TOKEN), Streams(backend))
        site.client.headers["authorization"] = f"Bearer {TOKEN}"
        yield site


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


# --- the document ---------------------------------------------------------------------------


def test_document_is_served_behind_the_guard(guarded: Site) -> None:
    assert guarded.client.get(PATH).json() == DOCUMENT
    assert httpx.get(guarded.server.url + PATH, trust_env=False).status_code == 401


def test_every_endpoint_is_described() -> None:
    """A new one needs its @describes(...); the fuzz then asks it too."""
    assert undescribed(api_routes()) == []


def test_every_operation_says_what_it_does_and_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) >= 28
    for path, method, operation in operations():
        assert operation["summary"], (path, method)
        assert "401" in operation["responses"]
        assert ("requestBody" in operation) == (method == "post")


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
        assert schema.get("description") or "error" in schema["properties"]


def test_every_parameter_that_is_described_is_read_and_no_other(guarded: Site) -> None:
    """What the document says and what the code reads are two lists; here they must agree."""
    for path, method, operation in operations():
        target = path.replace("{name}", "first-run")
        known = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
        refused = guarded.client.request(method, target, params={"unheard-of": "1"})
        if method == "get":
            assert refused.status_code == 400, path
        for name in known:
            answer = guarded.client.request(method, target, params={name: "\x01"})
            assert answer.status_code == 400, (path, name)
            assert answer.json()["error"]["message"].startswith(f"{name}:"), (path, name)


def test_every_key_of_a_body_that_is_described_is_read_and_no_other(guarded: Site) -> None:
    for path, method, operation in operations():
        if method != "post":
            continue
        target = path.replace("{name}", "first-run")
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        good = {"spec": {}, "name": "x", "run": "x", "url": "x", "priority": 1}
        for name in (*schema["properties"], "unheard-of"):
            others = {key: good[key] for key in schema.get("required", ()) if key != name}
            answer = guarded.client.post(target, json={**others, name: [[]]})
            message = answer.json()["error"]["message"]
            assert answer.status_code == 400, (path, name, message)
            assert ("unheard-of" in message) == (name == "unheard-of"), (path, name, message)


# --- schemas out of types -------------------------------------------------------------------


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Part:
    """One part."""

    when: datetime | None
    share: float
    colours: tuple[Colour, ...]
    pair: tuple[int, str]
    inner: Part | None = None
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_schema_of_a_type_fits_what_is_written_of_its_values() -> None:
    components = Components()
    schema = {**components.schema_of(Part), "components": {"schemas": components.schemas}}
    now = FakeClock().now()
    part = Part(now, float("nan"), (Colour.RED,), (1, "a"), Part(None, 0.5, (), (2, "b")))
    check = Draft202012Validator(schema)
    check.validate(to_json(part))
    assert not check.is_valid({**to_json(part), "unheard-of": 1})
    assert not check.is_valid({**to_json(part), "colours": ["blue"]})
    assert not check.is_valid({**to_json(part), "pair": [1]})
    assert not check.is_valid({"when": None})


@pytest.mark.parametrize("hint", [set[int], object, Hold.__init__])
def test_type_that_nobody_writes_has_no_schema(hint: Any) -> None:
    with pytest.raises(TypeError):
        Components().schema_of(hint)


def test_endpoint_that_is_not_described_is_left_out_and_named() -> None:
    async def forgotten(request: Request) -> Any:
        raise AssertionError

    assert undescribed([Route("/forgotten", forgotten)]) == ["/forgotten"]
    assert document([Route("/forgotten", forgotten)])["paths"] == {}
    assert document([Route("/forgotten", describes(int)(forgotten))])["paths"]


# --- the fuzz -------------------------------------------------------------------------------


def with_known_names() -> dict[str, Any]:
    """The document with examples in it: a fuzz by itself would hardly meet a run that exists."""
    told = copy.deepcopy(DOCUMENT)
    run = FakeBackend(FakeClock()).runs()[0].name
    for path, methods in told["paths"].items():
        for operation in methods.values():
            for item in operation.get("parameters", ()):
                if item["name"] == "run" or (item["in"] == "path" and "/runs/" in path):
                    item["schema"]["examples"] = [run]
    return told


_SCHEMA = schemathesis.openapi.from_dict(with_known_names()).exclude(path=list(STREAMS))
# the guard's own tests try the others
_SCHEMA.config.phases.coverage.unexpected_methods = {"DELETE", "PUT"}
_CHECKS = [
    checks.not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


@_SCHEMA.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_makes_the_daemon_fail_or_say_what_it_has_not_promised(
    case: schemathesis.Case, guarded: Site, session: requests.Session
) -> None:
    case.call_and_validate(
        base_url=guarded.server.url,
        session=session,
        headers={"Authorization": f"Bearer {TOKEN}"},
        checks=_CHECKS,
    )
