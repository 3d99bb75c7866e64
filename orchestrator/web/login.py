"""How a browser gets in: by the token on a form, or by a one-time link of ``homerun web``.

Both end in the same cookie. The pages here need no script, and no word of a request stands in
them.
"""

from __future__ import annotations

import html
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from orchestrator.home.clock import Clock
from orchestrator.web.answers import answer
from orchestrator.web.credentials import CODE_SECONDS, SESSION_SECONDS, Credentials
from orchestrator.web.describe import describes
from orchestrator.web.limiter import Limiter, place_of
from orchestrator.web.parameters import read_body

COOKIE = "homerun"
PATH = "/login"
_HEADERS = {
    "cache-control": "no-store",
    # With no-referrer a browser would send "Origin: null" with the form.
    "referrer-policy": "same-origin",
}
_USED = "This link was used already or has expired. Type 'homerun web' for a new one."
_WRONG = "That is not the token."


class Login:
    """The endpoints that hand out cookies and links."""

    def __init__(self, credentials: Credentials, limiter: Limiter, clock: Clock) -> None:
        self._credentials = credentials
        self._limiter = limiter
        self._clock = clock

    def routes(self) -> list[Route]:
        """Beside the page."""
        return [
            Route(PATH, self.show, methods=["GET"]),
            Route(PATH, self.enter, methods=["POST"]),
        ]

    def api_routes(self) -> list[Route]:
        """Below /api/v1."""
        return [Route("/login", self.link, methods=["POST"])]

    @describes({"path": str, "expires": datetime | None}, body={})
    async def link(self, request: Request) -> Response:
        """A one-time link, for somebody who has the token already."""
        await read_body(request, ())
        if not self._credentials.required:
            return answer({"path": "/", "expires": None})
        expires = self._clock.now() + timedelta(seconds=CODE_SECONDS)
        path = f"{PATH}?code={self._credentials.new_code()}"
        return answer({"path": path, "expires": expires})

    async def show(self, request: Request) -> Response:
        """The form; or, with a good code, the way in."""
        if not self._credentials.required:
            return RedirectResponse("/", 303)
        code = request.query_params.get("code")
        # A look ahead, by a browser or a chat program, must not use the link up.
        purpose = request.headers.get("sec-purpose", "")
        looks_only = request.method == "HEAD" or "prefetch" in purpose
        if code is None or looks_only:
            return form()
        place = f"code {place_of(request.client.host if request.client else '')}"
        if wait := self._limiter.wait_seconds(place):
            return _later(wait)
        if not self._credentials.redeem(code):
            self._limiter.failed(place)
            return form(_USED, 401)
        self._limiter.succeeded(place)
        # A redirect would count as coming from the link's site, without the cookie.
        return self._welcome(request, onward())

    async def enter(self, request: Request) -> Response:
        """The form's answer."""
        if not self._credentials.required:
            return RedirectResponse("/", 303)
        place = place_of(request.client.host if request.client else "")
        if wait := self._limiter.wait_seconds(place):
            return _later(wait)
        shown = _token_in(await request.body())
        if not self._credentials.opens_all(shown):
            self._limiter.failed(place)
            return form(_WRONG, 401)
        self._limiter.succeeded(place)
        return self._welcome(request, RedirectResponse("/", 303, headers=_HEADERS))

    def _welcome(self, request: Request, response: Response) -> Response:
        response.set_cookie(
            COOKIE,
            self._credentials.new_session(),
            max_age=SESSION_SECONDS,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response


def _token_in(body: bytes) -> bytes:
    # latin-1 is every byte as it is: a token in UTF-8 comes out as the bytes that it went in
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=4, encoding="latin-1")
    except ValueError:
        return b""
    return fields.get("token", [""])[0].strip().encode("latin-1")


def form(problem: str = "", status: int = 200) -> Response:
    """The page that asks for the token."""
    said = f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else ""
    body = (
        f'<h1>homerun</h1>{said}<form method="post" action="{PATH}">'
        '<label for="token">Token</label>'
        '<input id="token" name="token" type="password" required autofocus '
        'autocomplete="current-password">'
        "<button>Log in</button></form>"
        "<p>It stands in the file that <code>web.token_file</code> names. Or type "
        "<code>homerun web</code> on the machine itself, and open the link that it prints.</p>"
    )
    return _page(body, status)


def onward() -> Response:
    """Goes on to the page, from the page's own site: so the browser sends the cookie along."""
    body = '<h1>homerun</h1><p><a href="/">Go on to the page</a></p>'
    return _page(body, 200, '<meta http-equiv="refresh" content="0; url=/">')


def _later(wait_seconds: float) -> Response:
    response = form(f"Too many wrong ones. Try again in {wait_seconds:.0f} s.", 429)
    response.headers["retry-after"] = f"{wait_seconds + 1:.0f}"
    return response


def _page(body: str, status: int, head: str = "") -> Response:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>homerun: log in</title>'
        '<link rel="icon" href="/static/favicon.svg" type="image/svg+xml">'
        f'<link rel="stylesheet" href="/static/login.css"></head><body><main>{body}</main></body>'
        "</html>\n",
        status,
        headers=_HEADERS,
    )
