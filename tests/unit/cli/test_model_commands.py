"""sample, chat, eval: handed over to a trainer program, with its exit code and its words."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run


class Program:
    """A program in Python's place that writes down how it was called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text(
            "#!/bin/sh\n"
            'printf "%s\\n" "$@" > "$0.called"\n'
            '[ -e "$0.says" ] && cat "$0.says"\n'
            '[ -e "$0.code" ] && exit $(cat "$0.code")\n'
            "exit 0\n"
        )
        path.chmod(0o755)

    def called(self) -> list[str]:
        return Path(f"{self.path}.called").read_text().splitlines()

    def says(self, text: str) -> None:
        Path(f"{self.path}.says").write_text(text)

    def ends_with(self, code: int) -> None:
        Path(f"{self.path}.code").write_text(str(code))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Program:
    made = Program(tmp_path / "python")
    monkeypatch.setattr(sys, "executable", str(made.path))
    monkeypatch.setenv("HOMERUN_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "state" / "runs" / "first-run").mkdir(parents=True)
    return made


def test_what_was_not_said_is_left_to_the_trainer(
    program: Program, run: Run, tmp_path: Path
) -> None:
    assert run("sample", "first-run").exit_code == 0
    state = tmp_path / "state"
    assert program.called() == [
        "-m",
        "trainer.ask",
        f"--parent={os.getpid()}",
        "sample",
        str(state / "runs" / "first-run"),
        f"--data-dir={state / 'data'}",
        "--tokens=256",
        "--temperature=0.8",
        "--top-k=50",
        "--device=auto",
    ]


def test_every_choice_is_handed_over_whatever_it_begins_with(program: Program, run: Run) -> None:
    options = "--tokens 3 --temperature 0 --top-k 7 --seed 5 --device cpu --threads 2".split()
    result = run("sample", "first-run", *options, "--prompt", "--json -x", "--checkpoint", "40")
    assert result.exit_code == 0
    called = program.called()
    for expected in (
        "--tokens=3",
        "--temperature=0.0",
        "--top-k=7",
        "--seed=5",
        "--device=cpu",
        "--threads=2",
        "--prompt=--json -x",
        "--checkpoint=40",
    ):
        assert expected in called
    assert "--json" not in called


def test_json_is_wrapped_as_everywhere(program: Program, run: Run) -> None:
    program.says('{"run": "first-run", "text": "x"}\n')
    result = run("sample", "first-run", "--json")
    assert json.loads(result.stdout) == {"schema": 1, "sample": {"run": "first-run", "text": "x"}}
    assert "--json" in program.called()
    result = run("eval", "first-run", "--json")
    assert "evaluation" in json.loads(result.stdout)


def test_texts_to_evaluate_are_handed_over_in_order(program: Program, run: Run) -> None:
    assert run("eval", "first-run", "a file", "-", "--", "-b").exit_code == 0
    assert program.called()[-3:] == ["--text=a file", "--text=-", "--text=-b"]


def test_chat_takes_the_same_choices(program: Program, run: Run) -> None:
    assert run("chat", "first-run", "--seed", "9").exit_code == 0
    assert program.called()[3] == "chat"
    assert "--seed=9" in program.called()


@pytest.mark.parametrize(("ends", "code"), [(1, 1), (130, 130), (2, 2)])
@pytest.mark.parametrize("command", ["sample", "chat", "eval"])
def test_the_trainers_exit_code_is_ours_and_its_words_are_enough(
    program: Program, run: Run, command: str, ends: int, code: int
) -> None:
    program.ends_with(ends)
    result = run(command, "first-run")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "")


def test_an_answer_that_is_none_is_an_error(program: Program, run: Run) -> None:
    result = run("eval", "first-run", "--json")
    assert result.exit_code == 1
    assert "gave no answer" in result.stderr


@pytest.mark.parametrize("command", ["sample", "chat", "eval"])
def test_an_unknown_run_is_named_with_the_nearest(program: Program, run: Run, command: str) -> None:
    result = run(command, "frist-run")
    assert result.exit_code == 1
    assert "no run 'frist-run'" in result.stderr
    assert 'did you mean "first-run"' in result.stderr.replace("'", '"')


@pytest.mark.parametrize(
    "wrong",
    [
        ["sample", "first-run", "--tokens", "-1"],
        ["sample", "first-run", "--temperature", "-0.1"],
        ["chat", "first-run", "--device", "tpu"],
        ["eval", "first-run", "--tokens", "3", "text.txt"],
        ["sample"],
    ],
)
def test_senseless_choices_are_refused_before_anything_starts(
    program: Program, run: Run, wrong: list[str]
) -> None:
    assert run(*wrong).exit_code == 2
    assert not Path(f"{program.path}.called").exists()
