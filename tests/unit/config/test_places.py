"""Where the configuration and the state lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import places


def test_the_file_that_is_named_counts_even_when_it_is_missing(tmp_path: Path) -> None:
    system = tmp_path / "system.toml"
    system.touch()
    env = {"HOME": str(tmp_path), "HOMERUN_CONFIG": "/from/environment.toml"}
    option = Path("/from/option.toml")
    assert places.config_file(option, env, system) == option
    assert places.config_file(None, env, system) == Path("/from/environment.toml")


def test_the_system_s_file_comes_before_the_user_s(tmp_path: Path) -> None:
    system, user = tmp_path / "etc.toml", tmp_path / "xdg" / "homerun" / "homerun.toml"
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert places.config_file(None, env, system) is None
    user.parent.mkdir(parents=True)
    user.touch()
    assert places.config_file(None, env, system) == user
    system.touch()
    assert places.config_file(None, env, system) == system


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"HOMERUN_STATE_DIR": "/a", "STATE_DIRECTORY": "/b"}, "/a"),
        ({"STATE_DIRECTORY": "/b:/c", "XDG_STATE_HOME": "/d"}, "/b"),
        ({"XDG_STATE_HOME": "/d"}, "/d/homerun"),
        ({"XDG_STATE_HOME": "relative"}, "/home/ada/.local/state/homerun"),
        ({}, "/home/ada/.local/state/homerun"),
    ],
)
def test_the_state_directory_by_the_environment(env: dict[str, str], expected: str) -> None:
    assert places.default_state_dir({"HOME": "/home/ada", **env}) == Path(expected)


def test_a_relative_state_directory_becomes_absolute() -> None:
    assert places.default_state_dir({"HOMERUN_STATE_DIR": "here"}) == Path.cwd() / "here"
