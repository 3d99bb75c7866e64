"""homerun service --power-helper and --gamemode: what they install, and what systemd says."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.cli import power_units
from orchestrator.cli.power_units import PROGRAM, SERVICE, SOCKET, Helper
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_service import analyze

#: of 100; systemd-analyze calls what is below 30 "OK"
MOST_EXPOSURE = 25


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both units, over a program that exists."""
    helper = Helper(Path(sys.executable).resolve(), "root")
    program = tmp_path / "homerun-power.pyz"
    program.write_bytes(power_units.application())
    (tmp_path / SOCKET).write_text(power_units.socket_unit(helper))
    (tmp_path / SERVICE).write_text(power_units.service_unit(helper, program))
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_helpers_units(folder: Path) -> None:
    done = analyze("verify", "--man=no", str(folder / SOCKET), str(folder / SERVICE))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_helper_is_hardly_exposed_although_it_is_root(folder: Path) -> None:
    done = analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(folder / SERVICE)
    )
    assert done.returncode == 0, done.stdout


def test_the_program_is_whole_without_homerun_and_says_that_there_is_no_card(
    folder: Path,
) -> None:
    program = folder / "homerun-power.pyz"
    command = [sys.executable, "-I", "-S", str(program), "--allow", "root"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, "homerun-power: no card by NVML" in done.stderr) == (3, True), done
    with zipfile.ZipFile(program) as archive:
        assert "orchestrator/supervisor.py" not in archive.namelist()
    assert power_units.application() == program.read_bytes()


def test_install_writes_what_print_shows_and_uninstall_removes_all(
    run: Run, tmp_path: Path
) -> None:
    root = tmp_path / "image"
    arguments = ("--power-helper", "--allow", "anna")
    done = run("service", "install", *arguments, "--root", str(root))
    assert done.exit_code == 0, done.output
    shown = run("service", "print", *arguments).output
    for name in (SOCKET, SERVICE):
        assert (root / "etc/systemd/system" / name).read_text() in shown
    assert "SocketUser=anna" in shown
    assert "--allow anna" in shown
    assert (root / PROGRAM.relative_to("/")).exists()
    assert run("service", "uninstall", "--power-helper", "--root", str(root)).exit_code == 0
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_unit_of_the_helper_that_somebody_changed_is_not_replaced(
    run: Run, tmp_path: Path
) -> None:
    unit = tmp_path / "etc/systemd/system" / SERVICE
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/mine\n")
    done = run("service", "install", "--power-helper", "--root", str(tmp_path))
    assert done.exit_code == 77
    assert "--force" in done.output
    assert not (tmp_path / PROGRAM.relative_to("/")).exists()


def test_removing_a_helper_that_is_not_there_names_the_way_to_one(run: Run, tmp_path: Path) -> None:
    done = run("service", "uninstall", "--power-helper", "--root", str(tmp_path))
    assert done.exit_code == 77
    assert "sudo homerun service install --power-helper" in done.output


def test_a_python_that_its_user_could_change_is_not_run_as_root(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.touch(mode=0o777)
    python.chmod(0o777)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(sys, "executable", str(python))
    done = run("service", "install", "--power-helper", "--allow", "root")
    assert done.exit_code == 77
    assert "changed by others" in done.output


def test_only_root_installs_the_helper(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = run("service", "install", "--power-helper")
    assert done.exit_code == 77
    assert "sudo homerun service install --power-helper" in done.output


def test_gamemode_gets_its_hooks_unless_it_has_a_file_already(run: Run, tmp_path: Path) -> None:
    shown = run("service", "print", "--gamemode").output
    assert shown.startswith("[custom]\nstart=")
    assert "hold gamemode\nend=" in shown
    assert run("service", "install", "--gamemode").exit_code == 0
    file = tmp_path / ".config/gamemode.ini"
    assert file.read_text() == shown
    file.write_text("[general]\nrenice=5\n")
    again = run("service", "install", "--gamemode")
    assert again.exit_code == 77
    assert "unhold gamemode" in again.output
    assert file.read_text() == "[general]\nrenice=5\n"


@pytest.mark.parametrize("name", [SOCKET, SERVICE])
def test_the_units_in_deploy_are_those_that_install_writes(name: str) -> None:
    shipped = Path(__file__).parents[3] / "deploy/systemd" / name
    helper = Helper(Path("/usr/bin/python3"))
    build = power_units.socket_unit if name == SOCKET else power_units.service_unit
    assert shipped.read_text() == build(helper)
