"""The guard: an ASGI layer in front of everything, against other web pages and other machines.

A page of a stranger, open in a browser on this machine, can send requests to loopback addresses,
and with a name that it rebinds to 127.0.0.1 it can read the answers. So the daemon answers only
to names that are its own (Host), only to its own page (Origin, Sec-Fetch-Site), takes orders
only in a form that no HTML form can send (JSON), and asks for the token when there is one.
"""

from __future__ import annotations

import hmac
import ipaddress
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import Misconfigured
from orchestrator.web.answers import problem
from orchestrator.web.settings import Settings

#: the longest body that is read
MAX_BODY_BYTES = 1 << 20

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}

_HOST = re.compile(r"^(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?$")
_READING = ("GET", "HEAD")
#: files without secrets, which a browser must get before it can show a token
_OPEN_PATHS = ("/", "/healthz")


def check_bind(host: str, token: str | None) -> None:
    """Refuse to listen where other machines can reach us without a token.

    Raises:
        Misconfigured: ``host`` is not a loopback address and ``token`` is empty.
    """
    if token or is_loopback(host):
        return
    raise Misconfigured(
        f"web.host {host!r} can be reached by other machines, and there is no token",
        "set web.token_file, or listen on 127.0.0.1",
    )


def is_loopback(name: str) -> bool:
    """Whether a host name without its port is ours alone: localhost or a loopback address."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Wraps an ASGI app; answers what must not reach it, and adds the security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._token = settings.token.encode()
        self._allowed = _allowed_names(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._guard(scope, receive, _with_security_headers(send))

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif scope["method"] in _READING:
            await self._app(scope, receive, send)
        else:
            body = await _read_body(receive)
            if body is None:
                await _too_large()(scope, receive, send)
            else:
                await self._app(scope, _replay(body, receive), send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        return (
            self._wrong_host(headers)
            or _wrong_origin(headers)
            or _cross_site(scope, headers)
            or self._wrong_token(scope, headers)
            or _wrong_content(scope, headers)
        )

    def _wrong_host(self, headers: Headers) -> Response | None:
        values = headers.getlist("host")
        host = values[0].lower() if len(values) == 1 else ""
        match = _HOST.match(host)
        if match and (
            is_loopback(match["name"]) or match["name"] in self._allowed or host in self._allowed
        ):
            return None
        return problem(
            421,
            "wrong_host",
            f"this daemon does not answer to the host name {host!r}",
            "ask for 127.0.0.1, or add the name to web.allowed_hosts",
        )

    def _wrong_token(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._token or _is_open(scope):
            return None
        kind, _, shown = headers.get("authorization", "").partition(" ")
        # Headers are latin-1 text; compare_digest wants ASCII text or bytes.
        shown_bytes = shown.strip().encode("latin-1")
        if kind.lower() == "bearer" and hmac.compare_digest(shown_bytes, self._token):
            return None
        return problem(
            401,
            "token",
            "this daemon wants its token" if not shown else "this is not the daemon's token",
            "send it as 'Authorization: Bearer TOKEN'; it stands in web.token_file",
            headers={"www-authenticate": 'Bearer realm="homerun"'},
        )


def _allowed_names(settings: Settings) -> frozenset[str]:
    """The configured names, and the address we listen on: an address cannot be rebound."""
    names = [*settings.allowed_hosts, settings.host]
    return frozenset(_bracketed(name.lower()) for name in names)


def _bracketed(name: str) -> str:
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in _READING and (path in _OPEN_PATHS or path.startswith("/static/"))


def _wrong_origin(headers: Headers) -> Response | None:
    origins = headers.getlist("origin")
    host = headers.get("host", "").lower()
    if all(origin.lower() in (f"http://{host}", f"https://{host}") for origin in origins):
        return None
    return problem(
        403,
        "foreign_origin",
        f"a page of {', '.join(origins)!r} may not talk to this daemon",
        "use the daemon's own page",
    )


def _cross_site(scope: Scope, headers: Headers) -> Response | None:
    site = headers.get("sec-fetch-site", "none").lower()
    if site in ("same-origin", "none"):
        return None
    # A link from elsewhere may open the page, but nothing else.
    if scope["method"] in _READING and _is_open(scope):
        return None
    return problem(
        403, "cross_site", "another site's page sent this request", "use the daemon's own page"
    )


def _wrong_content(scope: Scope, headers: Headers) -> Response | None:
    if scope["method"] in _READING:
        return None
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return problem(
            415,
            "not_json",
            f"orders come as JSON, not as {content_type or 'nothing'!r}",
            "send 'Content-Type: application/json'",
        )
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        return _too_large()
    return None


def _too_large() -> Response:
    return problem(
        413,
        "too_large",
        f"the request is longer than {MAX_BODY_BYTES} bytes",
        "send less",
        headers={"connection": "close"},
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when it is too long. Nobody need announce a length."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            return None
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _with_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return sending
