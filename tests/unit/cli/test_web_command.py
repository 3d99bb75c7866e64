"""homerun web, and how the command line gets through login and TLS by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from orchestrator.home.clock import FakeClock
from orchestrator.settings.config import load
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.tls import tls_of
from tests.unit.cli.conftest import Run
from tests.unit.web.tools import certificate


@dataclass
class Here:
    """A guarded server on this machine, and the configuration that both sides read."""

    server: WebServer
    config: Path
    token: Path
    certificate: Path


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """TLS under a certificate that names another host, and a token that nobody made yet."""
    files = certificate(tmp_path, "web", "DNS:pc.lan")
    path = tmp_path / "homerun.toml"
    path.write_text(
        f'[daemon]\nstate_dir = "state"\n[web]\ntoken_file = "token"\nallowed_hosts = ["pc.lan"]\n'
        f'tls_certificate_file = "{files.certificate.name}"\ntls_key_file = "{files.key.name}"\n'
    )
    config = load(path, os.environ)
    with WebServer(host="127.0.0.1", port=0, tls=tls_of(config.web)) as server:
        server.start(FakeBackend(FakeClock()), config)
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "daemon.json").write_text(json.dumps({"url": server.url}))
        yield Here(server, path, tmp_path / "token", files.certificate)


def test_command_line_finds_token_and_certificate_by_itself(run: Run, here: Here) -> None:
    assert run("--config", str(here.config), "status").exit_code == 0
    assert run("--config", str(here.config), "healthcheck").stdout == "ok\n"
    assert here.token.stat().st_mode & 0o777 == 0o600


def test_web_prints_a_link_that_logs_one_browser_in(run: Run, here: Here) -> None:
    result = run("--config", str(here.config), "web")
    assert result.exit_code == 0
    link = result.stdout.strip()
    assert link.startswith(f"{here.server.url}/login?code=")
    assert "once" in result.stderr
    with httpx.Client(verify=False, trust_env=False) as browser:
        assert "secure" in browser.get(link).headers["set-cookie"].lower()
        assert browser.get(f"{here.server.url}/api/v1/status").status_code == 200


def test_web_as_json_and_under_the_name_that_the_phone_knows(run: Run, here: Here) -> None:
    result = run("--config", str(here.config), "web", "--host", "pc.lan", "--json")
    found = json.loads(result.stdout)["web"]
    assert found["url"].startswith(f"https://pc.lan:{here.server.port}/login?code=")
    assert found["expires"].endswith("Z")


@pytest.mark.parametrize("host", ["", "a/b", "a@b", "a b", "x?y"])
def test_web_under_what_is_no_name_is_refused(run: Run, here: Here, host: str) -> None:
    assert run("--config", str(here.config), "web", "--host", host).exit_code == 2


def test_web_where_no_login_is_needed_prints_the_address(run: Run) -> None:
    with WebServer(host="127.0.0.1", port=0) as server:
        server.start(FakeBackend(FakeClock()), load(None, os.environ))
        result = run("--url", server.url, "web")
        assert (result.stdout, result.stderr) == (f"{server.url}/\n", "")


def test_remote_daemon_by_token_file_and_authority(
    run: Run, here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No configuration here: the environment says it all, and the name must be the right one."""
    (tmp_path / "other").mkdir()
    local = certificate(tmp_path / "other", "local", "IP:127.0.0.1")
    config = here.config.with_name("local.toml")
    config.write_text(
        f'[web]\ntoken_file = "{here.token}"\ntls_certificate_file = "{local.certificate}"\n'
        f'tls_key_file = "{local.key}"\n'
    )
    settings = load(config, os.environ)
    with WebServer(host="127.0.0.1", port=0, tls=tls_of(settings.web)) as server:
        server.start(FakeBackend(FakeClock()), settings)
        monkeypatch.setenv("HOMERUN_URL", server.url)
        refused = run("status")
        assert refused.exit_code == 77
        assert "HOMERUN_CA_FILE" in refused.stderr
        monkeypatch.setenv("HOMERUN_CA_FILE", str(local.certificate))
        unknown = run("status")
        assert unknown.exit_code == 77
        assert "HOMERUN_TOKEN_FILE" in unknown.stderr
        monkeypatch.setenv("HOMERUN_TOKEN_FILE", str(here.token))
        assert run("status").exit_code == 0
        # Another server under another certificate does not get the token.
        monkeypatch.setenv("HOMERUN_URL", here.server.url)
        assert run("status").exit_code == 77
        monkeypatch.setenv("HOMERUN_CA_FILE", str(here.certificate))
        named_otherwise = run("status")
        assert named_otherwise.exit_code == 77
        assert "certificate" in named_otherwise.stderr


@pytest.mark.parametrize(
    ("variable", "code"), [("HOMERUN_TOKEN_FILE", 78), ("HOMERUN_CA_FILE", 78)]
)
def test_file_that_the_environment_names_must_be_there(
    run: Run, here: Here, monkeypatch: pytest.MonkeyPatch, variable: str, code: int
) -> None:
    monkeypatch.setenv(variable, "/nowhere/file")
    result = run("--config", str(here.config), "status")
    assert result.exit_code == code
    assert "/nowhere/file" in result.stderr


def test_token_stands_in_no_output(run: Run, here: Here) -> None:
    token = here.token.read_text().strip()
    for command in (
        ["config", "show"],
        ["config", "show", "--json"],
        ["config", "check"],
        ["status", "--json"],
        ["web"],
        ["events"],
    ):
        result = run("--config", str(here.config), *command)
        assert token not in result.stdout + result.stderr, command
