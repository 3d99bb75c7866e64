"""The question to a gRPC server, against servers of every kind; Ray's own is in the stories."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.engine import question
from orchestrator.engine.question import Question
from orchestrator.home.clock import SystemClock

CLOCK = SystemClock()
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
#: HEADERS on stream 1 with one byte of compressed headers
ANSWER = b"\0\0\1\1\5\0\0\0\1\x88"
TOKEN = "0123456789abcdef"


@contextlib.contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does so with its first connection."""
    over = threading.Event()

    def serve() -> None:
        line, _ = listener.accept()
        with line:
            behave(line)
            over.wait(30.0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def ask(port: int, folder: Path, seconds: float = 5.0) -> bool:
    token = folder / "token"
    token.write_text(TOKEN)
    return Question("server", port, "/a.Service/Call", token, CLOCK).ask(seconds)


def in_pieces(line: socket.socket) -> None:
    for byte in SETTINGS + PING + ANSWER:
        line.sendall(bytes([byte]))


def test_an_answer_counts_however_it_is_cut(tmp_path: Path) -> None:
    with server(in_pieces) as port:
        assert ask(port, tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(SETTINGS + PING, id="only what the connection itself says"),
        pytest.param(ANSWER[:-1], id="half an answer"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="another protocol"),
    ],
)
def test_anything_less_is_no_answer_and_the_wait_is_bounded(tmp_path: Path, said: bytes) -> None:
    with server(lambda line: line.sendall(said)) as port:
        assert not ask(port, tmp_path, seconds=0.2)


def test_a_server_that_hangs_up_has_not_answered(tmp_path: Path) -> None:
    with server(lambda line: line.shutdown(socket.SHUT_RDWR)) as port:
        assert not ask(port, tmp_path)


def test_nobody_listens_or_there_is_no_token(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        missing = Question("server", port, "/a.Service/Call", tmp_path / "none", CLOCK)
        assert not missing.ask(5.0)
    assert not ask(port, tmp_path)


def test_the_request_is_three_frames_with_the_token_in_it() -> None:
    data = question.request("/a.Service/Call", "127.0.0.1:80", TOKEN)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert data.startswith(preface)
    assert list(question.streams(data[len(preface) :])) == [0, 1, 1]
    assert b"\x0dauthorization" + bytes([7 + len(TOKEN)]) + f"Bearer {TOKEN}".encode() in data


def test_a_token_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        question.request("/a.Service/Call", "127.0.0.1:80", "x" * 200)
