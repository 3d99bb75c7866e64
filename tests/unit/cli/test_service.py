"""homerun service: units that systemd itself finds right and well guarded."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli import logind_conf, units
from orchestrator.cli.units import Installation
from tests.unit.cli.conftest import Run

#: of 100; systemd-analyze calls what is below 30 "OK"
MOST_EXPOSURE = 30


def analyze(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None and not os.environ.get("CI"):
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """A program that exists, below a directory that needs quoting."""
    program = tmp_path / "my tools" / "homerun"
    program.parent.mkdir()
    program.symlink_to("/bin/true")
    return Installation(program, tmp_path / "homerun.toml")


def test_systemd_finds_nothing_wrong_with_the_system_unit(
    tmp_path: Path, installation: Installation
) -> None:
    unit = tmp_path / "homerun.service"
    unit.write_text(units.system_unit(installation))
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_nothing_wrong_with_the_user_unit(
    tmp_path: Path, installation: Installation
) -> None:
    unit = tmp_path / "homerun.service"
    unit.write_text(units.user_unit(installation))
    done = analyze("--user", "verify", "--man=no", str(unit), XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reload_reaches_the_daemon_as_sighup(installation: Installation) -> None:
    for unit in (units.system_unit(installation), units.user_unit(installation)):
        assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in unit


def test_the_system_unit_is_hardly_exposed(tmp_path: Path, installation: Installation) -> None:
    unit = tmp_path / "homerun.service"
    unit.write_text(units.system_unit(installation))
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(unit))
    assert done.returncode == 0, done.stdout


def test_a_mistake_in_a_unit_would_be_found(tmp_path: Path, installation: Installation) -> None:
    unit = tmp_path / "homerun.service"
    unit.write_text(units.system_unit(installation).replace("WatchdogSec", "WatchdogSecs"))
    assert "WatchdogSecs" in analyze("verify", "--man=no", str(unit)).stderr


def test_install_writes_what_print_shows_and_uninstall_removes_it(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "image"
    done = run("service", "install", "--system", "--root", str(root))
    assert done.exit_code == 0, done.output
    path = root / "etc/systemd/system/homerun.service"
    assert path.read_text() == run("service", "print", "--system").output
    assert run("service", "uninstall", "--system", "--root", str(root)).exit_code == 0
    assert not path.exists()


def test_a_system_wide_install_lets_suspend_and_shutdown_wait_longer(
    run: Run, tmp_path: Path
) -> None:
    root = tmp_path / "image"
    drop_in = root / "etc/systemd/logind.conf.d/homerun.conf"
    done = run("service", "install", "--system", "--root", str(root))
    assert "suspend and shutdown wait up to 60 s" in done.output
    assert drop_in.read_text().endswith("[Login]\nInhibitDelayMaxSec=60\n")
    assert run("service", "uninstall", "--system", "--root", str(root)).exit_code == 0
    assert not drop_in.exists()


def test_what_a_person_says_about_logind_stays(run: Run, tmp_path: Path) -> None:
    drop_in = tmp_path / "etc/systemd/logind.conf.d/homerun.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Login]\nInhibitDelayMaxSec=300\n")
    assert run("service", "install", "--system", "--root", str(tmp_path)).exit_code == 0
    assert run("service", "uninstall", "--system", "--root", str(tmp_path)).exit_code == 0
    assert "300" in drop_in.read_text()


def test_a_users_own_service_leaves_logind_alone(run: Run, tmp_path: Path) -> None:
    assert run("service", "install", "--user", "--root", str(tmp_path)).exit_code == 0
    assert list(tmp_path.rglob("logind.conf.d")) == []


def test_the_drop_in_in_deploy_is_the_one_that_install_writes() -> None:
    shipped = Path(__file__).parents[3] / "deploy/systemd/logind-homerun.conf"
    assert shipped.read_text() == logind_conf.TEXT


def test_a_users_unit_goes_into_the_users_own_place(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "image"
    assert run("service", "install", "--user", "--root", str(root)).exit_code == 0
    (unit,) = root.rglob("homerun.service")
    assert "WantedBy=default.target" in unit.read_text()
    assert "User=" not in unit.read_text()


def test_a_unit_that_somebody_changed_is_not_replaced(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "image"
    path = root / "etc/systemd/system/homerun.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/mine\n")
    done = run("service", "install", "--system", "--root", str(root))
    assert done.exit_code == 77
    assert "--force" in done.output
    assert "/mine" in path.read_text()
    assert run("service", "install", "--system", "--root", str(root), "--force").exit_code == 0
    assert "/mine" not in path.read_text()


def test_uninstalling_what_is_not_there_says_so(run: Run, tmp_path: Path) -> None:
    done = run("service", "uninstall", "--system", "--root", str(tmp_path))
    assert done.exit_code == 77
    assert "homerun service install" in done.output


def test_the_unit_in_deploy_is_the_one_that_install_writes() -> None:
    shipped = Path(__file__).parents[3] / "deploy/systemd/homerun.service"
    built = units.system_unit(Installation(Path("/opt/homerun/.venv/bin/homerun")))
    assert shipped.read_text() == built
