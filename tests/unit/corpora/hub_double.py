"""A hub on this machine: the endpoints of the Hugging Face Hub that homerun uses, with faults.

GET /api/datasets/REPO/revision/REV     the commit of a revision
GET /api/datasets/REPO/tree/COMMIT      files with size and SHA-256, two a page, next by Link
GET /datasets/REPO/resolve/COMMIT/PATH  redirects to the bytes, which know Range
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY = "karpathy/fineweb-edu-100b-shuffle"
COMMIT = "c" * 40
_PAGE = 2


@dataclass
class Fault:
    """How the next requests for a file's bytes go wrong."""

    #: instead of the bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    #: the connection breaks after so many bytes
    cut_after: int = -1
    #: one bit is not what it was
    flipped: bool = False
    #: the server does not know Range
    whole: bool = False
    times: int = 1


@dataclass
class HubDouble:
    """What the hub has, and what it was asked for."""

    files: dict[str, bytes]
    faults: dict[str, Fault] = field(default_factory=dict)
    #: (path, where the bytes began) of each request for bytes
    asked: list[tuple[str, int]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    url: str = ""
    #: what every request to the API is answered with, when it is down
    down: int = 0
    #: what is said of a file, when that is not what it is
    stated: dict[str, str] = field(default_factory=dict)

    def fault_of(self, path: str) -> Fault:
        fault = self.faults.get(path)
        if fault is None or fault.times == 0:
            return Fault()
        fault.times -= 1
        return fault

    def sha256(self, path: str) -> str:
        return self.stated.get(path) or hashlib.sha256(self.files[path]).hexdigest()


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[HubDouble]:
    """The hub at 127.0.0.1 while the block runs."""
    hub = HubDouble(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubDouble
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.hub.requests.append(parts.path)
        api = f"/api/datasets/{REPOSITORY}"
        if parts.path.startswith("/api/") and self.hub.down:
            self._answer(self.hub.down, b"{}")
        elif parts.path.startswith(f"{api}/revision/"):
            self._json({"_id": "1", "id": REPOSITORY, "sha": COMMIT})
        elif parts.path.startswith(f"{api}/tree/"):
            self._tree(int(parse_qs(parts.query).get("cursor", ["0"])[0]), parts.path)
        elif parts.path.startswith(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/"):
            name = parts.path.rpartition("/")[2]
            self._answer(302, b"", Location=f"{self.hub.url}/cdn/{name}")
        elif parts.path.startswith("/cdn/"):
            self._bytes(parts.path.rpartition("/")[2])
        else:
            self._answer(404, b"{}")

    def _tree(self, cursor: int, path: str) -> None:
        names = sorted(self.hub.files)
        entries = [self._entry(name) for name in names[cursor : cursor + _PAGE]]
        more = {}
        if cursor + _PAGE < len(names):
            more["Link"] = f'<{self.hub.url}{path}?cursor={cursor + _PAGE}>; rel="next"'
        self._json(entries, **more)

    def _entry(self, name: str) -> dict[str, Any]:
        size = len(self.hub.files[name])
        entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": "0" * 40}
        if name.endswith(".parquet"):
            entry["lfs"] = {"oid": self.hub.sha256(name), "size": size, "pointerSize": 134}
        return entry

    def _bytes(self, name: str) -> None:
        fault = self.hub.fault_of(name)
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        start = 0 if fault.whole else start
        self.hub.asked.append((name, start))
        if name not in self.hub.files:
            self._answer(404, b"")
            return
        if fault.status:
            self._answer(fault.status, b"", **fault.headers)
            return
        body = bytearray(self.hub.files[name][start:])
        if fault.flipped:
            body[-1] ^= 1
        self._answer(206 if start else 200, bytes(body), fault.cut_after)

    def _json(self, value: Any, **headers: str) -> None:
        self._answer(200, json.dumps(value).encode(), **headers)

    def _answer(self, status: int, body: bytes, cut_after: int = -1, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if cut_after < 0 else body[:cut_after])
        if cut_after >= 0:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Nothing: the tests read what was asked from the double."""
