"""How the command line finds the daemon, and whom it shows the token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.discovery import find
from orchestrator.errors import Misconfigured
from tests.unit.cli.api_double import ApiDouble
from tests.unit.cli.conftest import Run


def write_address(state_dir: Path, url: str) -> None:
    state_dir.mkdir(parents=True, exist_ok=True)
    content = {"pid": 1, "url": url, "started": "2026-12-01T10:00:00Z"}
    (state_dir / "daemon.json").write_text(json.dumps(content))


def env_of(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path), **more}


def test_the_option_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    write_address(tmp_path / "state", "http://127.0.0.1:3")
    env = env_of(tmp_path, HOMERUN_STATE_DIR=str(tmp_path / "state"))
    assert find(None, None, env).url == "http://127.0.0.1:3"
    env["HOMERUN_URL"] = "http://127.0.0.1:2/"
    assert find(None, None, env).url == "http://127.0.0.1:2"
    assert find("http://127.0.0.1:1", None, env).url == "http://127.0.0.1:1"


def test_the_state_directory_of_the_configuration_counts(tmp_path: Path) -> None:
    write_address(tmp_path / "deep" / "state", "http://127.0.0.1:3")
    config = tmp_path / "deep" / "homerun.toml"
    config.write_text('[daemon]\nstate_dir = "state"\n')
    assert find(None, config, env_of(tmp_path)).url == "http://127.0.0.1:3"


@pytest.mark.parametrize(
    ("web", "url"),
    [
        ("", "http://127.0.0.1:8420"),
        ('host = "0.0.0.0"\nport = 9000\ntoken_file = "t"', "http://127.0.0.1:9000"),
        ('host = "::1"', "http://[::1]:8420"),
        ('host = "::"', "http://[::1]:8420"),
        ('host = "pc.lan"', "http://pc.lan:8420"),
        ('host = 7\nport = "x"', "http://127.0.0.1:8420"),
    ],
)
def test_without_a_written_address_the_configured_one_is_tried(
    tmp_path: Path, web: str, url: str
) -> None:
    config = tmp_path / "homerun.toml"
    config.write_text(f"[web]\n{web}\n")
    assert find(None, config, env_of(tmp_path)).url == url


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"pid": 3}'])
def test_a_damaged_address_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "daemon.json").write_text(content)
    env = env_of(tmp_path, HOMERUN_STATE_DIR=str(tmp_path))
    assert find(None, None, env).url == "http://127.0.0.1:8420"


def test_a_configuration_that_is_no_toml_is_named_unless_the_address_is_given(
    tmp_path: Path,
) -> None:
    config = tmp_path / "homerun.toml"
    config.write_text("[web\n")
    with pytest.raises(Misconfigured, match=r"homerun\.toml:1: not TOML"):
        find(None, config, env_of(tmp_path))
    assert find("http://127.0.0.1:1", config, env_of(tmp_path)).token == ""


def test_the_configured_token_is_shown_to_this_machine_only(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    config = tmp_path / "homerun.toml"
    config.write_text('[web]\nhost = "pc.lan"\ntoken_file = "token"\n')
    env = env_of(tmp_path)
    assert find(None, config, env).token == "secret"
    for ours in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://pc.lan:1"):
        assert find(ours, config, env).token == "secret"
    assert find("http://elsewhere.example", config, env).token == ""
    env["HOMERUN_TOKEN"] = "theirs"
    assert find("http://elsewhere.example", config, env).token == "theirs"


def test_the_token_travels_as_a_bearer(
    double: ApiDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMERUN_TOKEN", "secret")
    run("status")
    headers = double.asked("status").headers
    assert headers["Authorization"] == "Bearer secret"
    assert headers["User-Agent"].startswith("homerun/")


def test_a_daemon_behind_a_path_is_asked_there(double: ApiDouble, run: Run) -> None:
    assert run("--url", double.url + "/home/", "status").exit_code != 0
    assert double.requests[-1].path == "/home/api/v1/status"
