"""An attacker with a socket: half requests, floods, and requests that are built wrong."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from orchestrator.web.guard import MAX_BODY_BYTES
from orchestrator.web.patience import PatientProtocol
from orchestrator.web.settings import Settings
from orchestrator.web.stream import MAX_CLIENTS
from orchestrator.web.tls import Tls

from .conftest import Eventually, Serve, Site
from .tools import certificate

TOKEN = "correct-horse-battery"


class Hasty(PatientProtocol):
    """For tests that cannot wait ten seconds, nor open two hundred connections."""

    head_seconds = 0.2
    max_connections = 8
    max_connections_each = 6


@contextmanager
def line(site: Site, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    place = ("127.0.0.1", site.server.port)
    with socket.create_connection(place, timeout=20, source_address=(address, 0)) as opened:
        yield opened


def rest(opened: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    parts = []
    try:
        while part := opened.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def ask(site: Site, head: str, body: bytes = b"") -> bytes:
    """What comes back; ``head`` says that the connection ends, or the server is hasty."""
    with line(site) as opened:
        # it may be cut off before it has said everything
        with contextlib.suppress(ConnectionError):
            opened.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        return rest(opened)


def statuses(answer: bytes) -> list[int]:
    lines = answer.split(b"\r\n")
    return [int(words.split()[1]) for words in lines if words.startswith(b"HTTP/1.1 ")]


# --- slow loris -----------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "])
def test_request_that_never_ends_loses_its_connection(serve: Serve, begun: bytes) -> None:
    site = serve(protocol=Hasty)
    with line(site) as slow:
        slow.sendall(begun)
        assert rest(slow) == b""
    assert site.client.get("/healthz").status_code == 200


def test_second_request_that_never_ends_loses_its_connection_too(serve: Serve) -> None:
    site = serve(protocol=Hasty)
    with line(site) as slow:
        slow.sendall(f"GET /healthz HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode())
        first = slow.recv(65536)
        # One byte ends uvicorn's own patience with a connection that is kept alive.
        slow.sendall(b"G")
        answer = first + rest(slow)
    assert statuses(answer) == [200]


def test_body_that_never_ends_is_answered_and_does_nothing(serve: Serve) -> None:
    site = serve(Settings(body_seconds=0.2))
    head = (
        f"POST /api/v1/pause HTTP/1.1\r\nHost: {site.host}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with line(site) as slow:
        slow.sendall(head.encode())
        answer = rest(slow)
    assert statuses(answer) == [408]
    assert site.backend.snapshot().holds == ()


def test_stream_outlives_the_patience_with_requests(serve: Serve) -> None:
    site = serve(protocol=Hasty)
    with line(site) as reader, line(site) as clock:
        reader.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode())
        assert reader.recv(65536).startswith(b"HTTP/1.1 200")
        # This one is closed for its patience, so the stream's own time is over as well.
        assert rest(clock) == b""
        site.backend.write("note", "still there")
        heard = b""
        while b"still there" not in heard:
            part = reader.recv(65536)
            assert part, "the stream was closed"
            heard += part


def test_handshake_that_never_comes_keeps_nobody_out(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site = serve(tls=Tls(certificate(tmp_path_factory.mktemp("tls"), "one")))
    with ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(line(site))
        assert site.client.get("/healthz").status_code == 200


# --- floods ---------------------------------------------------------------------------------


def test_flood_of_connections_is_cut_off_and_leaves_room_for_other_addresses(
    serve: Serve, eventually: Eventually
) -> None:
    class Crowded(Hasty):
        head_seconds = 60.0

    site = serve(protocol=Crowded)
    with ExitStack() as flood:
        opened = [flood.enter_context(line(site)) for _ in range(30)]
        for extra in opened[Crowded.max_connections_each :]:
            assert rest(extra) == b""
        neighbour = httpx.HTTPTransport(local_address="127.0.0.2", verify=False)
        with httpx.Client(base_url=site.server.url, transport=neighbour, trust_env=False) as other:
            assert other.get("/healthz").status_code == 200
    eventually(lambda: _answers(site))


def _answers(site: Site) -> bool:
    try:
        return site.client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_streams_are_bounded_and_the_rest_still_answers(serve: Serve) -> None:
    site = serve()
    with ExitStack() as many:
        request = f"GET /api/v1/stream HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode()
        refused = 0
        for _ in range(MAX_CLIENTS + 8):
            opened = many.enter_context(line(site))
            opened.sendall(request)
            refused += b" 503 " in opened.recv(65536).split(b"\r\n")[0]
        assert refused == 8
        assert site.streams.clients == MAX_CLIENTS
        assert site.client.get("/api/v1/status").status_code == 200
        assert site.client.post("/api/v1/pause", json={}).status_code == 200


def test_reader_that_never_reads_holds_up_nobody(serve: Serve, eventually: Eventually) -> None:
    site = serve(streams=None)
    with line(site) as deaf, line(site) as keen:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for opened in (deaf, keen):
            opened.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode())
        for number in range(200):
            site.backend.write("note", f"entry {number} " + "x" * 400)
        heard = b""
        while b"entry 199 " not in heard:
            heard += keen.recv(65536)
        assert site.client.get("/api/v1/status").status_code == 200


# --- requests that are built wrong ----------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Content-Length: 2\nContent-Length: 50",
        "Content-Length: -1",
        "Content-Length: 2\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
        "Content-Length : 2",
        "X: a\x0bb",
        "X: a\rb",
        "Host: evil.example",
    ],
)
def test_two_ways_to_read_a_request_are_none(serve: Serve, header: str) -> None:
    """Nothing may hide a second request in the body of the first (RFC 9112, 11.2)."""
    site = serve(protocol=Hasty)
    hidden = f"GET /api/v1/status HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode()
    head = f"POST /api/v1/pause HTTP/1.1\nHost: {site.host}\nContent-Type: application/json"
    answer = ask(site, f"{head}\n{header}", b"0\r\n\r\n" + hidden)
    assert statuses(answer)
    assert b"headline" not in answer
    assert all(400 <= status < 500 for status in statuses(answer))


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_head_without_an_end_is_cut_off(site: Site, size: int) -> None:
    answer = ask(site, f"GET / HTTP/1.1\nHost: {site.host}\nConnection: close\nX: {'x' * size}")
    assert statuses(answer) in ([], [400], [431])
    assert site.client.get("/healthz").status_code == 200


def test_many_headers_are_cut_off(site: Site) -> None:
    many = "\n".join(["Connection: close", *(f"X-{number}: y" for number in range(60_000))])
    assert statuses(ask(site, f"GET / HTTP/1.1\nHost: {site.host}\n{many}")) in ([], [400], [431])


@pytest.mark.parametrize(
    "target",
    [
        "/login?code=x%0d%0aSet-Cookie:%20homerun=1",
        "/api/v1/runs/x%0d%0aSet-Cookie:%20a=1",
        "/static/x%0d%0aSet-Cookie:%20a=1",
        "//evil.example/%2e%2e",
        "/%0d%0aSet-Cookie:%20a=1",
        "/api/v1/logs?run=%0d%0aSet-Cookie:%20a=1",
    ],
)
def test_no_word_of_a_request_becomes_a_header(serve: Serve, target: str) -> None:
    for site in (serve(), serve(Settings(token=TOKEN))):
        answer = ask(site, f"GET {target} HTTP/1.1\nHost: {site.host}\nConnection: close")
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"set-cookie" not in head
        assert b"evil" not in head
        assert all(status < 500 for status in statuses(answer))


@pytest.mark.parametrize(
    ("name", "value"),
    [("last-event-id", "1\x01"), ("last-event-id", "9" * 5000), ("accept", "*/*;q=x" * 500)],
)
def test_odd_headers_are_never_our_failure(site: Site, name: str, value: str) -> None:
    for path in ("/api/v1/stream", "/metrics", "/"):
        head = f"HEAD {path} HTTP/1.1\nHost: {site.host}\n{name}: {value}\nConnection: close"
        assert all(status < 500 for status in statuses(ask(site, head)))


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs/..%2f..%2fetc%2fpasswd",
        "/api/v1/runs/%2e%2e/samples",
        "/api/v1/runs/first-run/../../../../etc/passwd",
        "/api/v1/logs?run=../../../etc/passwd",
        "/api/v1/logs?run=/etc/passwd",
        "/api/v1/logs/stream?run=../../etc",
    ],
)
def test_path_of_a_run_leads_to_no_other_file(site: Site, path: str) -> None:
    answer = ask(site, f"GET {path} HTTP/1.1\nHost: {site.host}\nConnection: close")
    assert statuses(answer) in ([404], [400])
    assert b"root:" not in answer


@pytest.mark.parametrize("name", ["../../../etc", "/etc/passwd", "a/b", "..", "x\u0000y"])
def test_name_of_a_checkpoint_leads_to_no_other_directory(site: Site, name: str) -> None:
    answer = site.client.post("/api/v1/checkpoints/pin", json={"name": name})
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_other_methods_do_nothing(site: Site, method: str) -> None:
    head = f"{method} /api/v1/pause HTTP/1.1\nHost: {site.host}\nConnection: close"
    answer = ask(site, f"{head}\nContent-Type: application/json\nContent-Length: 2", b"{}")
    assert statuses(answer) in ([405], [404], [400], [415])
    assert site.backend.snapshot().holds == ()


def test_body_that_is_deep_is_only_wrong(site: Site) -> None:
    deep = b"[" * 100_000
    headers = {"content-type": "application/json"}
    answer = site.client.post("/api/v1/pause", content=deep, headers=headers)
    assert answer.status_code == 400
    number = b'{"seconds": ' + b"9" * 5000 + b"}"
    answer = site.client.post("/api/v1/pause", content=number, headers=headers)
    assert answer.status_code == 400


def test_form_of_the_login_is_bounded_like_any_body(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    form = {"token": "x" * MAX_BODY_BYTES}
    assert site.client.post("/login", data=form).status_code == 413
    assert site.client.post("/login", content=b"{}").status_code == 415


# --- a cookie is no permission by itself ----------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_cookie_alone_gives_no_order(serve: Serve, headers: dict[str, str]) -> None:
    """A page on another port of this host is of the same site: its requests carry the cookie."""
    site = serve(Settings(token=TOKEN))
    assert site.client.post("/login", data={"token": TOKEN}).status_code == 303
    assert site.client.get("/api/v1/status").status_code == 200
    for path in ("/api/v1/pause", "/api/v1/login"):
        answer = site.client.post(path, json={}, headers=headers)
        assert answer.status_code == 403, answer.text
    assert site.backend.snapshot().holds == ()
    own = {"origin": site.server.url}
    assert site.client.post("/api/v1/pause", json={}, headers=own).status_code == 200


def test_login_of_another_site_is_refused(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = site.client.post("/login", data={"token": TOKEN}, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


def test_what_is_refused_says_nothing_of_the_run(serve: Serve) -> None:
    site = serve(Settings(token=TOKEN))
    told = json.dumps(site.backend.config_view())
    assert told
    for path in ("/", "/api/v1/status", "/api/v1/config", "/metrics", "/api/v1/nothing", "/x"):
        answer = site.client.get(path)
        assert answer.status_code == 401
        assert "first-run" not in answer.text
        assert "homerun_" not in answer.text
