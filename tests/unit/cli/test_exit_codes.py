"""Each failure leaves by its own exit code, with one line that says what, and one that helps."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.unit.cli import api_double as api
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run

SPEC = 'name = "mine"\n'
ASKING = [
    ("pause",),
    ("resume",),
    ("finish",),
    ("runs",),
    ("cancel", "x"),
    ("events",),
    ("events", "-f"),
    ("logs",),
    ("checkpoints", "list"),
    ("checkpoints", "verify"),
    ("checkpoints", "save"),
    ("healthcheck",),
]


@pytest.mark.parametrize("arguments", ASKING)
def test_a_daemon_that_is_down_is_69_for_every_command_that_needs_it(
    no_daemon: str, run: Run, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 69
    assert result.stdout == ""
    assert "the daemon is not running" in result.stderr
    assert result.stderr.endswith("fix: start it with homerun serve\n")


def test_submit_without_a_daemon_is_69_only_when_the_spec_is_right(
    no_daemon: str, run: Run, tmp_path: Path
) -> None:
    spec = tmp_path / "run.toml"
    spec.write_text(SPEC)
    assert run("submit", str(spec)).exit_code == 69
    spec.write_text("name = 7\n")
    assert run("submit", str(spec)).exit_code == 78


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("not_found", 404, 1),
        ("invalid", 400, 2),
        ("held", 423, 75),
        ("refused", 409, 77),
        ("misconfigured", 422, 78),
        ("too_many_clients", 503, 69),
        ("internal", 500, 1),
        ("unauthorized", 401, 77),
        ("forbidden", 403, 77),
        ("wrong_host", 421, 77),
    ],
)
def test_what_the_daemon_answers_becomes_the_exit_code(
    double: ApiDouble, run: Run, kind: str, status: int, code: int
) -> None:
    double.set("POST", "pause", api.error(kind, status, "not like this", "do that"))
    result = run("pause")
    assert result.exit_code == code
    assert result.stderr == "homerun: not like this\n  fix: do that\n"


def test_a_message_of_several_lines_keeps_the_prefix_on_each(double: ApiDouble, run: Run) -> None:
    double.set("POST", "pause", api.error("misconfigured", 422, "a: wrong\nb: wrong"))
    assert run("pause").stderr == "homerun: a: wrong\nhomerun: b: wrong\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("staus",), "did you mean 'status'?"),
        (("frobnicate",), "known are status"),
        (("pause", "--fro", "2h"), "--for"),
        (("cancel",), "Missing argument 'RUN'"),
        (("events", "-n", "none"), "'none'"),
        (("events", "-n", "0"), "0"),
        (("export", "x", "--to", "onnx", "out"), "onnx"),
        (("--url", "ftp://x", "status"), "no address: 'ftp://x'"),
        (("--url", "http://", "status"), "no address"),
    ],
)
def test_wrong_usage_is_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("homerun: ") == 1
    assert "  fix: " in result.stderr


def test_no_command_shows_the_help(run: Run) -> None:
    result = run()
    assert result.exit_code == 2
    assert "See how it goes" in result.stderr
    help_ = run("--help")
    assert help_.exit_code == 0
    assert max(map(len, help_.stdout.splitlines())) <= 80


def test_something_else_on_the_port_is_not_taken_for_the_daemon(
    double: ApiDouble, run: Run
) -> None:
    double.set("GET", "status", Answer("<html>hello</html>", content_type="text/html"))
    result = run("status")
    assert result.exit_code == 3
    assert "is no homerun daemon" in result.stderr
    double.set("GET", "status", Answer("gone", 404, "text/plain"))
    assert "is no homerun daemon" in run("status").stderr


def test_a_redirect_is_not_followed_and_the_token_not_carried_on(
    double: ApiDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMERUN_TOKEN", "secret")
    elsewhere = {"Location": double.url + "/elsewhere"}
    double.set("GET", "status", Answer("", 302, headers=elsewhere))
    assert run("status").exit_code == 3
    assert [request.path for request in double.requests] == ["/api/v1/status"]


def test_an_answer_that_is_no_http_is_not_a_daemon(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        result = run("--url", f"http://127.0.0.1:{server.getsockname()[1]}", "status")
        thread.join()
    assert result.exit_code == 3
    assert "is no homerun daemon" in result.stderr


def test_a_daemon_that_hangs_is_told_from_one_that_is_down(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        result = run("--url", url, "healthcheck", "--timeout", "0.05")
    assert result.exit_code == 69
    assert "does not answer in time" in result.stderr


def test_a_proxy_in_the_environment_is_not_asked(
    double: ApiDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert run("status").exit_code == 0
