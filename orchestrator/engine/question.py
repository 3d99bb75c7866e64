"""Question: whether a gRPC server on the loopback interface answers anything at all.

Written by hand, on a plain socket with a time-out: Ray's own client cannot be asked when Ray hangs
(its calls retry for minutes), and Ray ships no gRPC for Python. Of HTTP/2 (RFC 9113) this is one
request with headers that nobody has to compress (RFC 7541, 6.2.2) and an empty message.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.home.clock import Clock

_LOOPBACK = "127.0.0.1"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_STREAM = 1
_FRAME_HEAD_BYTES = 9
_CHUNK_BYTES = 1 << 14
#: a length of one byte in HPACK
_LONGEST_HEADER_BYTES = 126
#: not compressed, and no bytes
_EMPTY_MESSAGE = bytes(5)


@dataclass(frozen=True)
class Question:
    """One call, which goes through the server's own event loop.

    Any answer counts, also that the method is unknown: then the server at least reads and writes.
    """

    #: who is asked, for people
    title: str
    port: int
    #: as gRPC writes it: /package.Service/Method
    method: str
    #: holds the bearer token
    token_file: Path
    clock: Clock

    def ask(self, seconds: float) -> bool:
        """Whether an answer came in time. Never raises, never waits longer."""
        deadline = self.clock.monotonic() + seconds
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
            with socket.create_connection((_LOOPBACK, self.port), timeout=seconds) as line:
                line.sendall(request(self.method, f"{_LOOPBACK}:{self.port}", token))
                return self._answered(line, deadline)
        except (OSError, ValueError):
            return False

    def _answered(self, line: socket.socket, deadline: float) -> bool:
        heard = b""
        while (left := deadline - self.clock.monotonic()) > 0:
            line.settimeout(left)
            data = line.recv(_CHUNK_BYTES)
            if not data:
                return False
            heard += data
            if _STREAM in streams(heard):
                return True
        return False


def request(method: str, authority: str, token: str) -> bytes:
    """The bytes of the whole request.

    Raises:
        ValueError: a header is longer than 126 bytes.
    """
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "authorization": f"Bearer {token}",
    }
    block = b"".join(_literal(name, value) for name, value in headers.items())
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, _STREAM, block)
        + _frame(_DATA, _END_STREAM, _STREAM, _EMPTY_MESSAGE)
    )


def streams(heard: bytes) -> Iterator[int]:
    """The stream of each whole frame in ``heard``; 0 is the connection itself."""
    start = 0
    while start + _FRAME_HEAD_BYTES <= len(heard):
        end = start + _FRAME_HEAD_BYTES + int.from_bytes(heard[start : start + 3], "big")
        if end > len(heard):
            return
        yield int.from_bytes(heard[start + 5 : start + 9], "big") & 0x7FFFFFFF
        start = end


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _literal(name: str, value: str) -> bytes:
    field = b"\x00"
    for text in (name, value):
        data = text.encode("ascii")
        if len(data) > _LONGEST_HEADER_BYTES:
            raise ValueError(f"the header {name} is too long: {len(data)} bytes")
        field += bytes([len(data)]) + data
    return field
