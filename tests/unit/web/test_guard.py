"""The guard: who may ask, from where, in which form, with which token."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from orchestrator.errors import Misconfigured
from orchestrator.home.clock import FakeClock
from orchestrator.web.credentials import Credentials
from orchestrator.web.guard import MAX_BODY_BYTES, Guard, check_bind
from orchestrator.web.limiter import Limiter
from orchestrator.web.settings import Settings

from .conftest import Serve, Site

TOKEN = "correct-horse-battery"


def kind_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["kind"])


def post(site: Site, path: str = "/api/v1/pause", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.client.post(
        path, content=b"{}", headers={"content-type": "application/json", **named}
    )


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(request)
        parts = []
        while part := line.recv(65536):
            parts.append(part)
        return b"".join(parts)


# --- Host ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8420", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8420", "127.9.9.9"],
)
def test_loopback_names_are_answered(site: Site, host: str) -> None:
    assert site.client.get("/api/v1/version", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8420",
        "evil.example:8420",
        "192.168.1.7",
        "0.0.0.0",
        "[::]",
        "[::1",
        "::1",
        "localhost:99999999",
        "localhost:x",
        "user@localhost",
        "localhost, evil.example",
        "",
    ],
)
def test_name_rebound_to_loopback_is_misdirected(site: Site, host: str) -> None:
    answer = site.client.get("/api/v1/status", headers={"host": host})
    assert answer.status_code == 421
    assert kind_of(answer) == "wrong_host"
    assert "headline" not in answer.text


def test_request_without_a_host_is_misdirected(site: Site) -> None:
    assert b" 421 " in raw(site.server.port, b"GET /api/v1/status HTTP/1.0\r\n\r\n")


def test_page_itself_is_hidden_from_a_foreign_name(site: Site) -> None:
    assert site.client.get("/", headers={"host": "evil.example"}).status_code == 421


def test_allowed_names_are_answered_with_any_port_and_in_any_case(serve: Serve) -> None:
    site = serve(Settings(allowed_hosts=("homerun", "box.lan:8420", "fd00::7")))
    for host in ("homerun:8420", "Homerun", "box.lan:8420", "[fd00::7]:1"):
        assert site.client.get("/metrics", headers={"host": host}).status_code == 200, host
    for host in ("box.lan", "box.lan:1", "homerun.evil.example"):
        assert site.client.get("/metrics", headers={"host": host}).status_code == 421, host


def test_address_that_is_listened_on_is_a_name_of_ours(serve: Serve) -> None:
    site = serve(Settings(host="192.168.1.7", token=TOKEN))
    assert site.client.get("/healthz", headers={"host": "192.168.1.7:8420"}).status_code == 200


# --- Origin and Sec-Fetch-Site --------------------------------------------------------------


def test_own_page_may_give_orders(site: Site) -> None:
    answer = post(site, origin=f"http://{site.host}", sec_fetch_site="same-origin")
    assert answer.status_code == 200
    assert answer.json()["source"] == "page"


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://", ""],
)
def test_page_of_another_origin_is_refused(site: Site, origin: str) -> None:
    answer = post(site, origin=origin)
    assert answer.status_code == 403
    assert kind_of(answer) == "foreign_origin"
    assert site.backend.snapshot().holds == ()


def test_foreign_origin_may_not_even_read(site: Site) -> None:
    answer = site.client.get("/api/v1/status", headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("where", ["cross-site", "same-site", "unheard-of"])
def test_cross_site_order_is_refused_even_without_an_origin(site: Site, where: str) -> None:
    answer = post(site, sec_fetch_site=where)
    assert answer.status_code == 403
    assert kind_of(answer) == "cross_site"
    assert site.backend.snapshot().holds == ()


def test_link_elsewhere_opens_the_page_but_reads_nothing_else(site: Site) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    assert site.client.get("/", headers=headers).status_code == 200
    assert site.client.get("/api/v1/stream", headers=headers).status_code == 403
    assert site.client.get("/metrics", headers=headers).status_code == 403


def test_preflight_of_a_foreign_page_is_refused(site: Site) -> None:
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = site.client.options("/api/v1/pause", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


# --- form of the body -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "application/jsonx",
    ],
)
def test_what_a_html_form_can_send_is_no_order(site: Site, content_type: str) -> None:
    answer = post(site, content_type=content_type)
    assert answer.status_code == 415
    assert site.backend.snapshot().holds == ()


def test_json_with_a_charset_is_json(site: Site) -> None:
    assert post(site, content_type="Application/JSON; charset=utf-8").status_code == 200


def test_body_over_a_mebibyte_is_refused_when_it_is_announced(site: Site) -> None:
    head = (
        f"POST /api/v1/pause HTTP/1.1\r\nHost: {site.host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    )
    assert b" 413 " in raw(site.server.port, head.encode())


def test_body_over_a_mebibyte_is_refused_when_it_comes_in_pieces(site: Site) -> None:
    def pieces() -> object:
        yield b'{"detail": "'
        for _ in range(17):
            yield b"x" * 65536
        yield b'"}'

    headers = {"content-type": "application/json"}
    answer = site.client.post("/api/v1/pause", content=pieces(), headers=headers)  # type: ignore[arg-type]  # any iterable of bytes
    assert answer.status_code == 413
    assert site.backend.snapshot().holds == ()


def test_body_of_a_mebibyte_is_read(site: Site) -> None:
    filling = b" " * (MAX_BODY_BYTES - 2)
    answer = site.client.post(
        "/api/v1/pause", content=b"{}" + filling, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200


# --- token ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [None, "", TOKEN, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"],
)
def test_wrong_token_neither_reads_nor_commands(serve: Serve, shown: str | None) -> None:
    site = serve(Settings(token=TOKEN))
    headers = {} if shown is None else {"authorization": shown}
    for path in ("/api/v1/status", "/metrics", "/api/v1/stream", "/static", "/api/v1/nothing"):
        assert site.client.get(path, headers=headers).status_code == 401, path
    assert post(site, **headers).status_code == 401
    assert site.backend.snapshot().holds == ()


def test_token_in_bytes_beyond_ascii_is_only_wrong(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    headers = [(b"authorization", "Bearer schlüssel".encode("latin-1"))]
    assert site.client.get("/metrics", headers=headers).status_code == 401


def test_right_token_reads_and_commands(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    headers = {"authorization": f"bearer {TOKEN}"}
    assert site.client.get("/api/v1/status", headers=headers).status_code == 200
    assert post(site, **headers).status_code == 200


def test_what_holds_no_secrets_is_shown_before_the_token_is_known(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    for path in ("/login", "/static/homerun.js", "/healthz"):
        assert site.client.get(path).status_code == 200


def test_token_does_not_help_a_foreign_page(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    answer = post(site, authorization=f"Bearer {TOKEN}", origin="http://evil.example")
    assert answer.status_code == 403


# --- all answers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/status", "/api/v1/nothing", "/static/homerun.css", "/metrics"]
)
def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    headers = site.client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/..%5capp.py",
        "/static/homerun.js%00.html",
        "/static/",
    ],
)
def test_path_traversal_leaves_the_static_directory_alone(site: Site, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n"
    answer = raw(site.server.port, request.encode())
    assert b" 404 " in answer.split(b"\r\n")[0]
    assert b"Starlette" not in answer
    assert b"root:" not in answer


def test_websocket_is_closed_before_it_reaches_the_app() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nothing passes the guard")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    clock = FakeClock()
    guard = Guard(app, Settings(), Credentials("", "", clock), Limiter(clock))
    asyncio.run(guard({"type": "websocket", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.1.2.3"])
def test_loopback_may_be_listened_on_without_a_token(host: str) -> None:
    check_bind(host, None)
    check_bind(host, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "box.lan", "", "127.0.0.1.nip"])
def test_other_addresses_are_refused_without_a_token(host: str) -> None:
    with pytest.raises(Misconfigured, match="token"):
        check_bind(host, "")
    check_bind(host, TOKEN)
