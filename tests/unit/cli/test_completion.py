"""Tab in a real bash: commands, options, and the names of runs while the daemon answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.api_double import ApiDouble
from tests.unit.cli.conftest import Run

_HOMERUN = Path(sys.executable).with_name("homerun")


def completed(*words: str) -> list[str]:
    """What click answers a shell that asks for the last word."""
    line = " ".join(("homerun", *words))
    env = {**os.environ, "_HOMERUN_COMPLETE": "bash_complete", "COMP_WORDS": line,
           "COMP_CWORD": str(len(words))}  # fmt: skip
    code = "import sys; sys.argv[0] = 'homerun'; from orchestrator.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [item.partition(",")[2] for item in done.stdout.splitlines() if item]


def test_commands_and_options_are_completed() -> None:
    assert completed("sta") == ["status"]
    assert "--watch" in completed("status", "--w")


def test_runs_are_completed_by_the_daemon(double: ApiDouble) -> None:
    assert completed("pause", "f") == ["first-run"]
    assert completed("report", "''") == ["first-run", "second-run"]
    assert completed("--url", double.url, "cancel", "se") == ["second-run"]


def test_a_daemon_that_is_not_there_or_does_not_answer_offers_nothing(
    no_daemon: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed("pause", "f") == []
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv("HOMERUN_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        assert completed("pause", "f") == []


def test_bash_takes_the_script_and_asks_homerun(run: Run, double: ApiDouble) -> None:
    script = run("completion", "bash").stdout
    ask = (
        "COMP_WORDS=(homerun pause fir); COMP_CWORD=2; COMPREPLY=(); "
        '_homerun_completion homerun; echo "${COMPREPLY[@]}"; complete -p homerun'
    )
    env = {**os.environ, "PATH": f"{_HOMERUN.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "first-run"
    assert "-F _homerun_completion homerun" in done.stdout


@pytest.mark.parametrize(
    ("shell", "words"),
    [("zsh", "#compdef homerun"), ("fish", "complete --no-files --command homerun")],
)
def test_the_other_shells_have_their_scripts(run: Run, shell: str, words: str) -> None:
    text = run("completion", shell).stdout
    assert words in text
    assert "_HOMERUN_COMPLETE" in text


def test_the_shell_is_known_from_its_variable_or_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "--command homerun" in run("completion").stdout
    monkeypatch.setenv("SHELL", "/bin/dash")
    result = run("completion")
    assert result.exit_code == 2
    assert "name one: bash, zsh, fish" in result.stderr
    assert run("completion", "tcsh").exit_code == 2
