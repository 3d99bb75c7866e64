"""data: handed over to the trainer's program for corpora, without any daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.test_model_commands import Program, program

__all__ = ["program"]


def begin(what: str, *json_flag: str) -> list[str]:
    return ["-m", "trainer.corpora", f"--parent={os.getpid()}", what, *json_flag]


def test_fetch_puts_a_corpus_below_the_state_directory(
    program: Program, run: Run, tmp_path: Path
) -> None:
    assert run("data", "fetch", "fineweb-edu", "--shards", "8").exit_code == 0
    target = tmp_path / "state" / "corpora" / "fineweb-edu"
    assert program.called() == [
        *begin("fetch"),
        "--shards=8",
        f"--to={target}",
        "--",
        "fineweb-edu",
    ]


def test_fetch_goes_where_it_is_told(
    program: Program, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program.says('{"shards": 2}')
    result = run("data", "fetch", "fineweb-edu", "--shards", "2", "--to", "here", "--json")
    assert json.loads(result.stdout) == {"schema": 1, "fetched": {"shards": 2}}
    assert f"--to={tmp_path / 'here'}" in program.called()


def test_prepare_hands_over_only_what_was_said(program: Program, run: Run, tmp_path: Path) -> None:
    data_dir = f"--data-dir={tmp_path / 'state' / 'data'}"
    assert run("data", "prepare", "texts").exit_code == 0
    assert program.called() == [*begin("prepare"), data_dir, "--corpus=texts"]
    assert run("data", "prepare", "texts", "--vocab-size", "4096", "--jobs", "3").exit_code == 0
    assert program.called()[-2:] == ["--vocab-size=4096", "--jobs=3"]
    assert run("data", "prepare", "--spec", "run.toml", "--jobs", "3").exit_code == 0
    assert program.called()[-2:] == ["--spec=run.toml", "--jobs=3"]


def test_list_and_verify_say_where_to_look(program: Program, run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state"
    places = [f"--data-dir={state / 'data'}", f"--corpora-dir={state / 'corpora'}"]
    assert run("data", "list").exit_code == 0
    assert program.called() == [*begin("list"), *places]
    assert run("data", "verify", str(tmp_path / "x")).exit_code == 0
    assert program.called() == [*begin("verify"), *places, f"--directory={tmp_path / 'x'}"]


def test_damage_is_1_and_still_told_in_json(program: Program, run: Run) -> None:
    program.says('{"verdicts": [{"ok": false}]}')
    program.ends_with(1)
    result = run("data", "verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["verification"] == {"verdicts": [{"ok": False}]}


@pytest.mark.parametrize(
    "wrong",
    [
        ["fetch", "fineweb-edu"],
        ["fetch", "fineweb-edu", "--shards", "0"],
        ["prepare"],
        ["prepare", "texts", "--spec", "run.toml"],
        ["prepare", "--spec", "run.toml", "--vocab-size", "4096"],
        ["prepare", "texts", "--validation-permille", "501"],
    ],
)
def test_senseless_wishes_are_refused_before_anything_starts(
    program: Program, run: Run, wrong: list[str]
) -> None:
    assert run("data", *wrong).exit_code == 2
    assert not Path(f"{program.path}.called").exists()
