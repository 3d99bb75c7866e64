"""The HTTP client of the daemon's API.

It stands on ``http.client``: half the import time of ``urllib.request``, no proxies from the
environment between us and our own machine, and no redirects that would carry the token along.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from orchestrator.cli.discovery import Endpoint, Trust
from orchestrator.errors import (
    Held,
    HomerunError,
    Invalid,
    Misconfigured,
    NotFound,
    Refused,
)
from orchestrator.version import VERSION

#: the daemon sends a comment every 15 s, so this much silence means that the line is dead
STREAM_SILENCE_SECONDS = 45.0

_ERRORS: dict[int, type[HomerunError]] = {
    error.http_status: error for error in (NotFound, Invalid, Held, Refused, Misconfigured)
}
_GUARDED = (401, 403, 415, 421, 429)


class Unreachable(HomerunError):
    """No daemon answers."""

    exit_code = 69
    http_status = 503


@dataclass(frozen=True)
class ServerEvent:
    """One server-sent event."""

    name: str
    data: str
    id: str


class Client:
    """One daemon. Every call opens its own connection.

    All calls raise Unreachable when no daemon answers, and the ``HomerunError`` that the
    daemon's answer stands for.
    """

    def __init__(self, endpoint: Endpoint, timeout_seconds: float = 10.0) -> None:
        parts = urlsplit(endpoint.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"no address: {endpoint.url!r} (from {endpoint.origin})",
                "write it as http://127.0.0.1:8420",
            )
        self.endpoint = endpoint
        self._parts = parts
        self._timeout_seconds = timeout_seconds

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer of ``GET /api/v1/path``; None values are left out of the query."""
        return self._json("GET", _target(path, query), None, self._timeout_seconds)

    def post(self, path: str, body: dict[str, Any], timeout_seconds: float | None = None) -> Any:
        """The JSON answer of ``POST /api/v1/path``; None values are left out of the body."""
        given = {key: value for key, value in body.items() if value is not None}
        return self._json("POST", _target(path, {}), given, timeout_seconds)

    def healthy(self) -> str:
        """What /healthz answers."""
        return self._answer("GET", "/healthz", None, self._timeout_seconds)

    def stream(self, path: str, last_id: str = "", **query: Any) -> Iterator[ServerEvent]:
        """The server-sent events of a path, until the daemon ends the stream."""
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        connection = self._connection(STREAM_SILENCE_SECONDS)
        try:
            response = self._send(connection, "GET", _target(path, query), None, headers)
            yield from parse_events(_lines(response))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _json(self, method: str, target: str, body: Any, timeout_seconds: float | None) -> Any:
        text = self._answer(method, target, body, timeout_seconds or self._timeout_seconds)
        try:
            return json.loads(text)
        except ValueError:
            raise self._no_daemon() from None

    def _answer(self, method: str, target: str, body: Any, timeout_seconds: float) -> str:
        connection = self._connection(timeout_seconds)
        try:
            headers = {"Accept": "application/json"}
            response = self._send(connection, method, target, body, headers)
            return response.read().decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Any,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        # The daemon's journal tells by this who asked.
        headers["User-Agent"] = f"homerun/{VERSION}"
        if self.endpoint.token:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        connection.request(method, self._parts.path + target, data, headers)
        response = connection.getresponse()
        if response.status >= 400:
            raise self._error(response.status, response.read())
        if response.status >= 300:
            raise self._no_daemon()
        return response

    def _connection(self, timeout_seconds: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname, self._parts.port
        assert host, "checked at construction"
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        context = _tls_context(self.endpoint.trust)
        return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context)

    def _error(self, status: int, body: bytes) -> HomerunError:
        try:
            error = json.loads(body)["error"]
            message, fix = str(error["message"]), str(error.get("fix") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            if status in (404, 405):
                return self._no_daemon()
            message, fix = f"the daemon answered with HTTP status {status}", "homerun logs"
        if status in _GUARDED:
            return Refused(message, fix)
        if status == Unreachable.http_status:
            return Unreachable(message, fix)
        return _ERRORS.get(status, HomerunError)(message, fix)

    def _unreachable(self, error: Exception) -> HomerunError:
        place = f"{self.endpoint.url} (from {self.endpoint.origin})"
        if isinstance(error, TimeoutError):
            return Unreachable(
                f"the daemon at {place} does not answer in time", "see what homerun doctor says"
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return Refused(
                f"the certificate of {place} is not to be trusted: {error.verify_message}",
                "name its authority by $HOMERUN_CA_FILE, or give the address that it names",
            )
        if isinstance(error, ssl.SSLError):
            return self._no_daemon()
        if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
            return self._no_daemon()
        return Unreachable(
            f"the daemon is not running: nothing answers at {place}", "start it with homerun serve"
        )

    def _no_daemon(self) -> HomerunError:
        return Unreachable(
            f"what answers at {self.endpoint.url} is no homerun daemon",
            "give the daemon's address by --url or $HOMERUN_URL",
        )


def parse_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """The events in the lines of a ``text/event-stream`` (WHATWG HTML, 9.2.6).

    A comment, which the daemon sends as a sign of life, is no event.
    """
    name, identity = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield ServerEvent(name, "\n".join(data), identity)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            identity = value


def _tls_context(trust: Trust) -> ssl.SSLContext:
    """Raises Misconfigured when the file to check against is none."""
    try:
        context = ssl.create_default_context(cafile=trust.file)
    except OSError as error:
        raise Misconfigured(
            f"{trust.file} holds no certificate to check the daemon's against: {error.strerror}",
            "give a PEM file by $HOMERUN_CA_FILE",
        ) from None
    if trust.pinned:
        # Its file is all the identity there is: it need not be an authority, nor name 127.0.0.1.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    while line := response.readline():
        yield line.decode("utf-8", errors="replace").rstrip("\r\n")


def _target(path: str, query: dict[str, Any]) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    return f"/api/v1/{path}" + (f"?{urlencode(given)}" if given else "")
