"""The guard: an ASGI layer in front of everything, against other web pages and other machines.

A page of a stranger, open in a browser on this machine, can send requests to loopback addresses,
and with a name that it rebinds to 127.0.0.1 it can read the answers. So the daemon answers only
to names that are its own (Host), only to its own page (Origin, Sec-Fetch-Site), takes orders
only in a form that no HTML form can send (JSON), and asks for the token when there is one.
A browser shows it as a cookie, which it sends by itself: so an order with a cookie must also say
that it is from our own page.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import Misconfigured
from orchestrator.settings.web_config import is_loopback
from orchestrator.web import login
from orchestrator.web.answers import problem
from orchestrator.web.credentials import Credentials
from orchestrator.web.limiter import Limiter, place_of
from orchestrator.web.settings import Settings

log = logging.getLogger(__name__)

#: the longest body that is read
MAX_BODY_BYTES = 1 << 20

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}

_HOST = re.compile(r"^(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?$")
_READING = ("GET", "HEAD")
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_PAGE = "/"
#: without secrets; what a browser must get before it can log in
_OPEN_PATHS = ("/healthz", login.PATH)
_METRICS = "/metrics"
#: what listens everywhere has as many addresses as the machine
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
#: cookies of one name that are looked at: a neighbour on another port may have set one too
_MAX_COOKIES = 8


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


class Guard:
    """Wraps an ASGI app; answers what must not reach it, and adds the security headers."""

    def __init__(
        self, app: ASGIApp, settings: Settings, credentials: Credentials, limiter: Limiter
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._limiter = limiter
        self._allowed = _allowed_names(settings)
        self._any_address = settings.host in _WILDCARDS
        self._body_seconds = settings.body_seconds

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
            await self._with_body(scope, receive, send)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await asyncio.wait_for(_read_body(receive), self._body_seconds)
        except TimeoutError:
            await _too_slow()(scope, receive, send)
            return
        if body is None:
            await _too_large()(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        return (
            self._wrong_host(headers)
            or _two_lengths(headers)
            or _wrong_origin(headers)
            or _cross_site(scope, headers)
            or self._stranger(scope, headers)
            or _wrong_content(scope, headers)
        )

    def _wrong_host(self, headers: Headers) -> Response | None:
        values = headers.getlist("host")
        host = values[0].lower() if len(values) == 1 else ""
        match = _HOST.match(host)
        if match and (self._is_ours(match["name"]) or host in self._allowed):
            return None
        return problem(
            421,
            "wrong_host",
            f"this daemon does not answer to the host name {host!r}",
            "ask for 127.0.0.1, or add the name to web.allowed_hosts",
        )

    def _is_ours(self, name: str) -> bool:
        # An address cannot be rebound: who asks by address has reached that very address.
        return (
            is_loopback(name) or name in self._allowed or (self._any_address and _is_address(name))
        )

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._credentials.required or _is_open(scope):
            return None
        logged_in = any(map(self._credentials.is_session, _cookies(headers)))
        if logged_in and (scope["method"] in _READING or _from_our_page(headers)):
            return None
        shown = _bearer(headers)
        if shown is not None:
            return self._wrong_token(scope, shown)
        if not logged_in:
            return _please_log_in(scope, headers)
        return problem(
            403,
            "no_origin",
            "an order with a cookie must say that it is from the daemon's own page (Origin)",
            "send it as 'Authorization: Bearer TOKEN' instead",
        )

    def _wrong_token(self, scope: Scope, shown: bytes) -> Response | None:
        address = scope["client"][0] if scope.get("client") else ""
        metrics = scope["path"] == _METRICS
        # A scraper with an old token must not lock out the person at the same machine.
        place = f"metrics {place_of(address)}" if metrics else place_of(address)
        if wait := self._limiter.wait_seconds(place):
            return _too_many(wait)
        opens = self._credentials.opens_metrics if metrics else self._credentials.opens_all
        if opens(shown):
            self._limiter.succeeded(place)
            return None
        self._limiter.failed(place)
        log.warning("a wrong token came from %s", address)
        return _unauthorized("this is not the daemon's token")


def _allowed_names(settings: Settings) -> frozenset[str]:
    """The configured names, and the address we listen on: an address cannot be rebound."""
    names = [*settings.allowed_hosts, settings.host]
    return frozenset(_bracketed(name.lower()) for name in names)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _bearer(headers: Headers) -> bytes | None:
    """What is shown as a token; None when nothing is."""
    kind, _, shown = headers.get("authorization", "").partition(" ")
    if not kind:
        return None
    # Headers are latin-1 text; compare_digest wants ASCII text or bytes.
    return shown.strip().encode("latin-1") if kind.lower() == "bearer" else b""


def _cookies(headers: Headers) -> list[str]:
    pairs = [pair.strip().partition("=") for pair in headers.get("cookie", "").split(";")]
    return [value for name, _, value in pairs if name == login.COOKIE][:_MAX_COOKIES]


def _from_our_page(headers: Headers) -> bool:
    """Both were checked already; here they must be there."""
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"


def _please_log_in(scope: Scope, headers: Headers) -> Response:
    if scope["path"] == _PAGE and scope["method"] in _READING:
        # Who follows a link from elsewhere comes without the cookie, for it is strict.
        elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        return login.onward() if elsewhere else login.form(status=401)
    return _unauthorized("this daemon wants its token")


def _unauthorized(message: str) -> Response:
    return problem(
        401,
        "token",
        message,
        "name its file by $HOMERUN_TOKEN_FILE, or send it as 'Authorization: Bearer TOKEN'",
        headers={"www-authenticate": 'Bearer realm="homerun"'},
    )


def _too_many(wait_seconds: float) -> Response:
    return problem(
        429,
        "too_many_failures",
        "too many wrong tokens came from your address",
        f"wait {wait_seconds:.0f} s, then show the right one",
        headers={"retry-after": f"{wait_seconds + 1:.0f}"},
    )


def _bracketed(name: str) -> str:
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name


def _is_open(scope: Scope) -> bool:
    path = scope["path"]
    if path == login.PATH:
        return True
    return scope["method"] in _READING and (path in _OPEN_PATHS or path.startswith("/static/"))


def _two_lengths(headers: Headers) -> Response | None:
    """A proxy before us may read the other one, and take the rest for a second request."""
    if "content-length" not in headers or "transfer-encoding" not in headers:
        return None
    return problem(
        400,
        "two_lengths",
        "the request gives its length in two ways",
        "send Content-Length or Transfer-Encoding, not both",
        headers={"connection": "close"},
    )


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
    if scope["method"] in _READING and (_is_open(scope) or scope["path"] == _PAGE):
        return None
    return problem(
        403, "cross_site", "another site's page sent this request", "use the daemon's own page"
    )


def _wrong_content(scope: Scope, headers: Headers) -> Response | None:
    if scope["method"] in _READING:
        return None
    wanted = _FORM if scope["path"] == login.PATH else _JSON
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != wanted:
        return problem(
            415,
            "not_json",
            f"orders come as JSON, not as {content_type or 'nothing'!r}",
            f"send 'Content-Type: {wanted}'",
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


def _too_slow() -> Response:
    return problem(
        408,
        "too_slow",
        "the body did not come in time",
        "send it at once",
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
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
