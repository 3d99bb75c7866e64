"""The seam to the services: one request, one reply, in bounded time and memory."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from orchestrator.home.clock import Clock
from orchestrator.version import VERSION

#: a daemon that ends waits for the request under way, so not for long
TIMEOUT_SECONDS = 10.0
#: a month of quarter-hours for every area of a market is a tenth of it
MAX_BYTES = 16_000_000
_CHUNK_BYTES = 65_536
#: zlib's sign for "gzip header or zlib header, whichever is there"
_ANY_HEADER = 47


class Unreachable(Exception):
    """No whole reply came: no connection, too slow, cut off, too large, moved elsewhere.

    Its text never holds the address, for some services want their token in it.
    """


@dataclass(frozen=True)
class Request:
    """What is asked."""

    url: str
    method: str = "GET"
    #: the values are secrets: never shown
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = None


@dataclass(frozen=True)
class Reply:
    """What was answered, decompressed; the names of headers are in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Http(Protocol):
    """Sends requests. Used from one thread at a time."""

    def send(self, request: Request) -> Reply:
        """Any whole reply, of whatever status. Raises Unreachable."""


class RealHttp:
    """By ``urllib`` over the network; proxies are those of the environment."""

    def __init__(
        self,
        clock: Clock,
        timeout_seconds: float = TIMEOUT_SECONDS,
        proxies: dict[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        # not build_opener: it would bring file: and ftp: along
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(proxies),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            _StayHome(),
        ):
            self._opener.add_handler(handler)

    def send(self, request: Request) -> Reply:
        if not request.url.startswith(("http://", "https://")):
            raise Unreachable("its address is not one of a web server (http:// or https://)")
        headers = {
            "User-Agent": f"homerun/{VERSION}",
            "Accept-Encoding": "gzip",
            **request.headers,
        }
        deadline = self._clock.monotonic() + self._timeout_seconds
        try:
            wanted = urllib.request.Request(  # noqa: S310 - its scheme was looked at above
                request.url, request.body, headers, method=request.method
            )
            response = self._opener.open(wanted, timeout=self._timeout_seconds)
        except urllib.error.HTTPError as error:
            response = error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(_words(error)) from None
        if response is None:
            raise Unreachable("no way to send it")
        with response:
            try:
                body = self._body(response, deadline)
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(_words(error)) from None
            names = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, self._plain(body, names), names)

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        parts, size = [], 0
        while chunk := response.read1(_CHUNK_BYTES):
            parts.append(chunk)
            size += len(chunk)
            if size > self._max_bytes:
                raise Unreachable(f"its answer is larger than {self._max_bytes:,} bytes")
            if self._clock.monotonic() > deadline:
                raise Unreachable(f"its answer took longer than {self._timeout_seconds:g} s")
        promised = response.headers.get("Content-Length", "")
        if promised.isdigit() and size < int(promised):
            raise Unreachable(f"its answer was cut off after {size:,} of {int(promised):,} bytes")
        return b"".join(parts)

    def _plain(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        if headers.get("content-encoding", "").lower() not in ("gzip", "x-gzip", "deflate"):
            return body
        inflater = zlib.decompressobj(wbits=_ANY_HEADER)
        try:
            plain = inflater.decompress(body, self._max_bytes)
        except zlib.error:
            raise Unreachable("its answer cannot be decompressed") from None
        if inflater.unconsumed_tail:
            raise Unreachable(f"its answer is larger than {self._max_bytes:,} bytes")
        if not inflater.eof:
            raise Unreachable("its answer was cut off inside the compressed part")
        return plain


class FakeHttp:
    """Answers from a function, and remembers what was asked."""

    def __init__(self, answer: Callable[[Request], Reply | Unreachable]) -> None:
        self.answer = answer
        self.requests: list[Request] = []

    def send(self, request: Request) -> Reply:
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, Unreachable):
            raise answer
        return answer


class _StayHome(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to the same server: a token must not travel to another."""

    def redirect_request(  # type: ignore[no-untyped-def] # the base's own signature is untyped
        self, req, fp, code, msg, headers, newurl
    ):
        here, there = urlsplit(req.full_url), urlsplit(newurl)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            fp.close()
            raise Unreachable(f"it moved to {there.scheme}://{there.hostname}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _words(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "it does not answer in time"
    if isinstance(reason, http.client.IncompleteRead):
        return "its answer was cut off"
    if isinstance(reason, OSError) and reason.strerror:
        return f"it cannot be reached: {reason.strerror}"
    return f"it cannot be reached: {type(reason).__name__}"
