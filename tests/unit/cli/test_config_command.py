"""config check, show, init."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from orchestrator.cli import toml_text
from orchestrator.settings.config import Config, load, sections
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "homerun.toml"


def test_check_says_fine_and_names_the_file(run: Run, tmp_path: Path) -> None:
    good = tmp_path / "good.toml"
    good.write_text('[daemon]\ntick = "2s"\n')
    result = run("config", "check", "--config", str(good))
    assert (result.exit_code, result.stdout) == (0, f"{good}: fine\n")
    assert run("--config", str(good), "config", "check").exit_code == 0


def test_check_lists_every_problem_and_exits_78(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('[daemon]\ntikc = "2s"\n\n[web]\nport = "x"\n')
    result = run("config", "check", "--config", str(bad))
    assert result.exit_code == 78
    first, second, _ = result.stderr.splitlines()
    assert first == f"homerun: {bad}:2: daemon.tikc: unknown key; did you mean 'tick'?"
    assert second == f"homerun: {bad}:5: web.port: must be a whole number, not a text"


def test_a_file_that_was_named_must_exist(run: Run) -> None:
    result = run("config", "check", "--config", "/nowhere/homerun.toml")
    assert result.exit_code == 78
    assert "no such file" in result.stderr


def test_init_writes_a_file_that_changes_nothing(run: Run, file: Path) -> None:
    result = run("config", "init", "--config", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}\n")
    assert load(file, {}) == load(None, {})
    assert run("config", "check", "--config", str(file)).exit_code == 0


def test_init_tells_every_key_with_its_default_and_meaning(run: Run, file: Path) -> None:
    run("config", "init", "--config", str(file))
    text = file.read_text()
    uncommented = "\n".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    )
    written = tomllib.loads(uncommented)
    for table, section in sections(Config()).items():
        fields = type(section).model_fields
        assert set(written[table]) == {key for key in fields if not fields[key].examples}
        for key, field in fields.items():
            assert field.description, f"{table}.{key} has no meaning"


def test_the_examples_of_the_template_are_right_too(file: Path) -> None:
    file.parent.mkdir()
    tariff = ["[tariff]", 'currency = "EUR"', 'time_zone = "UTC"', "price_per_kwh = 0.3"]
    for table, section in sections(Config()).items():
        for key, field in type(section).model_fields.items():
            for example in field.examples or ():
                lines = toml_text.example(table, key, example)
                if not lines[0].startswith("["):
                    lines = [f"[{table}]", *lines]
                mine = lines if f"[{table}]" == lines[0] == "[tariff]" else [*tariff, *lines]
                more = tariff[1:3] if mine is lines else []
                file.write_text("\n".join([*mine, *more]))
                assert getattr(sections(load(file, {}))[table], key) is not None, key


def test_init_changes_nothing_even_with_every_default_written_out(run: Run, file: Path) -> None:
    run("config", "init", "--config", str(file))
    text = file.read_text()
    uncommented = "\n".join(
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    )
    file.write_text(uncommented)
    defaults, again = load(None, {}), load(file, {})
    assert again.model_dump(exclude={"daemon": {"state_dir"}}) == defaults.model_dump(
        exclude={"daemon": {"state_dir"}}
    )
    assert max(map(len, text.splitlines())) <= 100


def test_init_never_overwrites(run: Run, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("# mine\n")
    result = run("config", "init", "--config", str(file))
    assert result.exit_code == 77
    assert file.read_text() == "# mine\n"


def test_init_where_nobody_may_write_says_so(run: Run) -> None:
    result = run("config", "init", "--config", "/proc/homerun.toml")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_show_is_toml_and_tells_where_each_value_is_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text('[daemon]\ntick = "2s"\n\n[web]\nallowed_hosts = ["a", "b"]\n')
    monkeypatch.setenv("HOMERUN_STATE_DIR", str(tmp_path / "state"))
    text = run("config", "show", "--config", str(file)).stdout
    plain = tomllib.loads(text)
    assert plain["daemon"]["tick"] == "2s"
    assert plain["web"]["allowed_hosts"] == ["a", "b"]
    assert plain["daemon"]["state_dir"] == str(tmp_path / "state")
    origins = {line.split(" = ")[0]: line.split("  # ")[-1] for line in text.splitlines()}
    assert origins["tick"] == "line 2"
    assert origins["allowed_hosts"] == "line 5"
    assert origins["state_dir"] == "$HOMERUN_STATE_DIR"
    assert origins["port"] == "default"


def test_show_masks_a_password(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text('[store]\nurl = "postgresql://me:hunter2@db/homerun"\n')
    for arguments in (("config", "show"), ("config", "show", "--json")):
        text = run("--config", str(file), *arguments).stdout
        assert "hunter2" not in text
        assert "postgresql://me:***@db/homerun" in text
    assert json.loads(text)["config"]["daemon"]["tick"] == "1s"


@pytest.mark.parametrize("value", ['a "quoted" \\ text', "tab\tnew\nline", "\x7f", "ünï", ""])
def test_text_survives_the_way_through_toml(value: str) -> None:
    assert tomllib.loads(f"x = {toml_text.value_text(value)}")["x"] == value


def test_quiet_hours_are_told_with_what_they_ask_for_and_what_is_wrong_with_them(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "quiet.toml"
    file.write_text(
        "[[quiet_hours]]\nhours = '22-7'\nname = 'night'\n[[quiet_hours]]\n"
        "days = 'PH'\n[[quiet_hours]]\neffect = 'cap'\ncap_watts = 90\nhours = '11-12'\n"
    )
    text = " ".join(run("config", "check", "--config", str(file)).stdout.split())
    assert "quiet hours: night from 22:00" in text
    assert "(release)" in text
    assert "number 2 does not come within a year; its days hold PH" in text
    assert "number 3 now, until 12:00" in text
    assert "(at most 90 W)" in text


def test_reload_says_what_is_in_use_and_what_waits(run: Run, double: ApiDouble) -> None:
    answer = {"applied": ["quiet_hours.times"], "needs_restart": ["web.port"]}
    double.set("POST", "config/reload", Answer(json.dumps(answer)))
    result = run("config", "reload")
    assert result.stdout == "in use now: quiet_hours.times\nfrom the next start on: web.port\n"
    assert json.loads(run("config", "reload", "--json").stdout)["reload"] == answer
    nothing = json.dumps({"applied": [], "needs_restart": []})
    double.set("POST", "config/reload", Answer(nothing))
    assert run("config", "reload").stdout == "nothing changed\n"


def test_reload_without_a_daemon_says_so(run: Run, no_daemon: str) -> None:
    assert run("config", "reload").exit_code == 69
