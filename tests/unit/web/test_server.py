"""The server: its address, its start, its end, and what it says when it cannot listen."""

from __future__ import annotations

import errno
import socket
import stat
import threading
from pathlib import Path

import httpx
import pytest

from orchestrator.errors import HomerunError, Misconfigured, Refused
from orchestrator.settings.config import Config
from orchestrator.settings.web_config import WebConfig
from orchestrator.web.app import build_app
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings, settings_of


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def test_address_is_known_before_anything_answers(backend: FakeBackend) -> None:
    with WebServer(host="127.0.0.1", port=0) as server:
        assert server.port > 0
        assert server.url == f"http://127.0.0.1:{server.port}"
        server.start(backend, Config())
        assert get(f"{server.url}/healthz").text == "ok\n"


def test_ipv6_loopback_is_served_under_its_own_name(backend: FakeBackend) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with WebServer(host="::1", port=0) as server:
        server.start(backend, Config())
        assert server.url == f"http://[::1]:{server.port}"
        answer = get(f"{server.url}/api/v1/version")
        assert answer.status_code == 200


def test_port_that_is_taken_is_named_with_its_fix() -> None:
    with WebServer(host="127.0.0.1", port=0) as first:
        with pytest.raises(Refused) as caught:
            WebServer(host="127.0.0.1", port=first.port)
        assert f"port {first.port} on 127.0.0.1 is taken" in caught.value.message
        assert "web.port" in caught.value.fix


def test_port_is_free_again_after_a_stop(backend: FakeBackend) -> None:
    with WebServer(host="127.0.0.1", port=0) as first:
        first.start(backend, Config())
        get(f"{first.url}/healthz")
    with WebServer(host="127.0.0.1", port=first.port) as second:
        second.start(backend, Config())
        assert get(f"{second.url}/healthz").text == "ok\n"


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "x" * 70, "a..b"])
def test_host_that_is_not_ours_is_a_wrong_configuration(host: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        WebServer(host=host, port=0)
    assert "127.0.0.1" in caught.value.fix


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [(errno.EACCES, Refused, "root"), (errno.EMFILE, HomerunError, "cannot listen")],
)
def test_other_reasons_not_to_listen_are_told(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[HomerunError], message: str
) -> None:
    class Stubborn(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(number, "no")

    monkeypatch.setattr(socket, "socket", Stubborn)
    with pytest.raises(kind, match=message):
        WebServer(host="127.0.0.1", port=80)


def test_server_for_other_machines_does_not_start_without_a_token(backend: FakeBackend) -> None:
    with (
        WebServer(host="0.0.0.0", port=0) as server,
        pytest.raises(Misconfigured, match="no token"),
    ):
        server.start(backend, Config())


def test_server_for_other_machines_starts_with_a_token(
    backend: FakeBackend, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse\n")
    config = Config(web=WebConfig(host="0.0.0.0", token_file=str(token)))
    with WebServer(host="0.0.0.0", port=0) as server:
        server.start(backend, config)
        assert server.url == f"http://127.0.0.1:{server.port}"
        status = f"{server.url}/api/v1/status"
        assert get(status).status_code == 401
        shown = {"authorization": "Bearer correct-horse"}
        assert httpx.get(status, headers=shown, trust_env=False).status_code == 200


def test_stop_is_idempotent_and_leaves_no_thread(backend: FakeBackend) -> None:
    before = set(threading.enumerate())
    server = WebServer(host="127.0.0.1", port=0)
    server.start(backend, Config())
    get(f"{server.url}/api/v1/runs")
    server.stop()
    server.stop()
    left = {thread.name for thread in threading.enumerate() if thread not in before}
    assert not {name for name in left if name.startswith("web")}
    with pytest.raises(httpx.ConnectError):
        get(f"{server.url}/healthz")


def test_server_that_was_never_started_can_be_stopped() -> None:
    server = WebServer(host="127.0.0.1", port=0)
    server.stop()
    WebServer(host="127.0.0.1", port=server.port).stop()
    assert server.port > 0


def test_app_that_cannot_start_is_told_and_nothing_stays_open(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = build_app(backend, Settings())

    async def broken() -> None:
        raise RuntimeError("no thread to be had")

    monkeypatch.setattr(app.state.streams, "open", broken)
    server = WebServer(host="127.0.0.1", port=0)
    with pytest.raises(HomerunError, match="did not start"):
        server.serve(app)
    with pytest.raises(httpx.ConnectError):
        get(f"{server.url}/healthz")


def test_order_under_way_is_finished_before_the_server_stops(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    real = backend.verify_checkpoints

    def slow(run: str | None, name: str | None) -> object:
        began.set()
        assert go_on.wait(10)
        return real(run, name)

    monkeypatch.setattr(backend, "verify_checkpoints", slow)
    answers: list[httpx.Response] = []
    with WebServer(host="127.0.0.1", port=0) as server:
        server.start(backend, Config())
        url = f"{server.url}/api/v1/checkpoints/verify"
        asking = threading.Thread(
            target=lambda: answers.append(httpx.post(url, json={}, trust_env=False))
        )
        asking.start()
        assert began.wait(10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        go_on.set()
        stopping.join()
        asking.join()
    assert [answer.status_code for answer in answers] == [200]


@pytest.mark.parametrize("content", [b"", b"  \n", b"two words", b"\xff\xfe", "schlüssel".encode()])
def test_token_file_without_a_plain_word_is_a_wrong_configuration(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"web\.token_file"):
        settings_of(WebConfig(token_file=str(path)))


def test_missing_token_file_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    config = WebConfig(token_file=str(path), metrics_token_file=str(tmp_path / "metrics"))
    made = settings_of(config)
    assert len(made.token) >= 32
    assert made.token != made.metrics_token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert settings_of(config) == made
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["metrics", "token"]
    assert made.token not in repr(made)


def test_token_file_that_cannot_be_made_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be made") as caught:
        settings_of(WebConfig(token_file=str(tmp_path / "none" / "token")))
    assert "web.token_file" in caught.value.fix


def test_settings_come_from_the_configuration() -> None:
    assert settings_of(WebConfig(allowed_hosts=("homerun",))) == Settings(
        "127.0.0.1", ("homerun",), ""
    )
