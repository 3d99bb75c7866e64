"""A small real HTTP server that speaks as the price services do, faults and all."""

from __future__ import annotations

import enum
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.tariff.price_bodies import Asked


class Fault(enum.Enum):
    """What goes wrong."""

    NO_CONTENT = "204 before the publication"
    NOT_FOUND = "404 before the publication"
    BUSY = "429 with Retry-After in seconds"
    BUSY_UNTIL = "429 with Retry-After as a date"
    OVERLOADED = "503 with Retry-After"
    FAILED = "502"
    FORBIDDEN = "401"
    BAD_REQUEST = "400"
    CUT_OFF = "fewer bytes than promised"
    CUT_CHUNK = "a chunk that never ends"
    SLOW = "a byte now and then"
    SILENT = "not a byte"
    HUNG_UP = "no answer at all"
    WEB_PAGE = "HTML with status 200"
    NO_JSON = "half of a JSON text"
    OTHER_JSON = "JSON of another form"
    NOT_A_NUMBER = "NaN where a price should be"
    DEEP = "lists in lists in lists"
    COMPRESSED = "gzip, as it should be"
    CUT_GZIP = "half of a gzip"
    NO_GZIP = "says gzip, is none"
    BOMB = "a gzip that grows a thousandfold"
    MOVED = "a redirect to another server"
    MOVED_HERE = "a redirect to the same server"


Speaker = Callable[[Asked], tuple[int, bytes]]


@dataclass
class PriceServer:
    """Answers with what ``speak`` says, spoilt by ``fault``."""

    speak: Speaker = lambda asked: (404, b"")
    fault: Fault | None = None
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def price_server(speak: Speaker | None = None) -> Iterator[PriceServer]:
    """A server that listens while the block runs."""
    server = PriceServer() if speak is None else PriceServer(speak)
    try:
        yield server
    finally:
        server.stop()


def _handler(server: PriceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self._reply()

        def _reply(self) -> None:
            self.close_connection = True
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(parts.path, query, dict(self.headers), body)
            server.asked.append(asked)
            with suppress(BrokenPipeError, ConnectionResetError):
                if server.fault is None or not _spoil(server, self, asked):
                    status, content = server.speak(asked)
                    _send(self, status, content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            pass

    return Handler


def _send(
    handler: BaseHTTPRequestHandler, status: int, content: bytes = b"", **headers: str
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _spoil(server: PriceServer, handler: BaseHTTPRequestHandler, asked: Asked) -> bool:
    """Answer with the fault; False: answer as if there was none."""
    fault = server.fault
    plain = {
        Fault.NO_CONTENT: (204, b""),
        Fault.NOT_FOUND: (404, b"<h1>Not Found</h1>"),
        Fault.FAILED: (502, b"<h1>Bad Gateway</h1>"),
        Fault.FORBIDDEN: (401, b'{"error": "invalid token s3cret"}'),
        Fault.BAD_REQUEST: (400, b'{"detail": "no such area"}'),
        Fault.WEB_PAGE: (200, b"<!DOCTYPE html><title>Maintenance</title>"),
        Fault.NO_JSON: (200, b'{"unix_seconds": [1764716400, 17647'),
        Fault.OTHER_JSON: (200, b'{"message": "hello", "data": {"prices": "none"}}'),
        Fault.NOT_A_NUMBER: (200, b'{"unix_seconds": [1764716400], "price": [NaN], "unit": "x"}'),
        Fault.DEEP: (200, b"[" * 200_000),
    }
    busy = {
        Fault.BUSY: (429, {"Retry_After": "120"}),
        Fault.BUSY_UNTIL: (429, {"Retry_After": _http_date(handler, 90)}),
        Fault.OVERLOADED: (503, {"Retry_After": "600"}),
    }
    if fault in plain:
        _send(handler, *plain[fault])
    elif fault in busy:
        status, headers = busy[fault]
        _send(handler, status, b"slow down", **headers)
    elif fault is Fault.MOVED:
        _send(handler, 301, Location="http://localhost:9/elsewhere")
    elif fault is Fault.MOVED_HERE and "moved" not in asked.query:
        _send(handler, 302, Location=f"{handler.path}&moved=1")
    elif fault is Fault.HUNG_UP:
        pass
    elif fault is Fault.SILENT:
        server.stopping.wait(30)
    elif fault in (Fault.COMPRESSED, Fault.CUT_GZIP, Fault.NO_GZIP, Fault.BOMB):
        _compressed(server, handler, asked)
    elif fault in (Fault.CUT_OFF, Fault.CUT_CHUNK, Fault.SLOW):
        _cut(server, handler, server.speak(asked)[1])
    else:
        return False
    return True


def _compressed(server: PriceServer, handler: BaseHTTPRequestHandler, asked: Asked) -> None:
    body = server.speak(asked)[1]
    packed = {
        Fault.COMPRESSED: gzip.compress(body),
        Fault.CUT_GZIP: gzip.compress(body)[:-20],
        Fault.NO_GZIP: body,
        Fault.BOMB: gzip.compress(b"[" + b" " * 40_000_000 + b"]"),
    }
    assert server.fault is not None
    _send(handler, 200, packed[server.fault], Content_Encoding="gzip")


def _cut(server: PriceServer, handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    if server.fault is Fault.CUT_CHUNK:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n" % len(body) + body[: len(body) // 2])
        return
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if server.fault is Fault.CUT_OFF:
        handler.wfile.write(body[: len(body) // 2])
        return
    for byte in body:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if server.stopping.wait(0.02):
            return


def _http_date(handler: BaseHTTPRequestHandler, ahead_seconds: int) -> str:
    return handler.date_time_string(
        int(datetime.now(UTC).timestamp()) + ahead_seconds  # noqa: TID251 - a server's own clock
    )
