"""doctor: what is wrong is named with its fix, what is merely missing is a warning."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from orchestrator.cli import checks, render
from orchestrator.cli.checks import State
from orchestrator.cli.session import Session
from orchestrator.settings.config import Config, NotifyConfig, UpsConfig
from orchestrator.settings.web_config import WebConfig
from tests.unit.cli.api_double import ApiDouble
from tests.unit.cli.conftest import Run

#: what may be wrong with the machine that the tests run on
DISK = {"disk", "file system"}


def failed(run: Run) -> set[str]:
    found = json.loads(run("doctor", "--json").stdout)["checks"]
    return {check["name"] for check in found if check["state"] == "failed"}


def test_a_machine_in_order_passes(double: ApiDouble, run: Run) -> None:
    result = run("doctor")
    assert failed(run) <= DISK
    assert result.exit_code == (1 if failed(run) else 0)
    assert "✓  daemon      0.1.0 at http://127.0.0.1:8420, engine ray" in result.stdout
    assert max(render.cells(line) for line in result.stdout.splitlines()) <= 80


def test_json_lists_every_check(double: ApiDouble, run: Run) -> None:
    document = json.loads(run("doctor", "--json").stdout)
    assert document["schema"] == 1
    assert document["ok"] is not bool(failed(run))
    names = [check["name"] for check in document["checks"]]
    assert names[:4] == ["python", "packages", "config", "daemon"]
    assert {"state", "disk", "gpu", "clock"} <= set(names)


def test_a_daemon_that_is_not_running_is_only_a_warning(no_daemon: str, run: Run) -> None:
    result = run("doctor")
    assert failed(run) <= DISK
    assert "fix: start it with homerun serve" in result.stdout


def test_a_broken_configuration_fails_and_shows_its_lines(
    double: ApiDouble, run: Run, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[web]\nprot = 1\n")
    result = run("--config", str(bad), "doctor")
    assert result.exit_code == 1
    assert "did you mean 'port'?" in " ".join(result.stdout.split())
    assert "to be fixed: config" in result.stderr


def test_old_and_missing_packages_are_named() -> None:
    found = dict.fromkeys(checks._PACKAGES, "99") | {"ray": "2.53.1", "torch": None}
    check = checks.packages(found.get)
    assert check.state is State.FAILED
    assert check.message == "torch is missing; ray 2.53.1 is older than 2.54"
    assert checks.packages(lambda name: "99.1.0+cpu").state is State.OK


def test_an_old_python_fails() -> None:
    assert checks.python_version((3, 10)).state is State.FAILED
    assert checks.python_version((3, 14)).state is State.OK


def test_too_little_room_fails_and_little_room_warns() -> None:
    states = [checks.free_space(Path("/x"), size).state for size in (10**8, 5 * 10**9, 10**11)]
    assert states == [State.FAILED, State.WARNING, State.OK]


def test_the_file_system_is_that_of_the_longest_mount_point(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    inner = tmp_path / "with space"
    (inner / "deep").mkdir(parents=True)
    mounts.write_text(
        "1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        f"2 1 0:1 / {str(inner).replace(' ', chr(92) + '040')} rw - nfs4 nas:/x rw\n"
        f"3 1 0:2 / {tmp_path}/with rw - tmpfs tmpfs rw\n"
    )
    assert checks.file_system_of(inner / "deep", mounts) == "nfs4"
    assert checks.file_system_of(tmp_path, mounts) == "ext4"
    assert checks.file_system_of(tmp_path, tmp_path / "missing") == ""


@pytest.mark.parametrize(
    ("kind", "state"),
    [("nfs4", "failed"), ("9p", "failed"), ("tmpfs", "warning"), ("ext4", "ok"), ("btrfs", "ok")],
)
def test_a_network_file_system_is_no_place_for_the_store(kind: str, state: str) -> None:
    assert checks.file_system(Path("/x"), kind).state == state


def test_a_state_directory_nobody_may_write_fails() -> None:
    check = checks.writable(Path("/proc/homerun"))
    assert check.state is State.FAILED
    assert check.fix


def test_a_whole_store_passes_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    store = tmp_path / "homerun.sqlite"
    connection = sqlite3.connect(store)
    connection.executescript("create table t(x); create index i on t(x);")
    connection.executemany("insert into t values (?)", [(str(i) * 50,) for i in range(2000)])
    connection.commit()
    connection.close()
    assert checks.store_integrity(store).state is State.OK
    with store.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 4))
    check = checks.store_integrity(store)
    assert check.state is State.FAILED
    assert "homerun-backup.sqlite" in check.fix
    store.write_bytes(b"not a database at all" * 100)
    assert checks.store_integrity(store).state is State.FAILED


def test_the_store_is_looked_at_only_while_no_daemon_has_it(
    run: Run, no_daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMERUN_STATE_DIR", str(tmp_path))
    (tmp_path / "homerun.sqlite").write_bytes(b"rubbish" * 1000)
    result = run("doctor")
    assert result.exit_code == 1
    assert failed(run) - DISK == {"store"}
    names = [check.name for check in checks.state(Config(), up=True)]
    assert "store" not in names


@pytest.mark.parametrize("which", ["token", "messages"])
def test_a_secret_that_others_can_read_is_a_warning(tmp_path: Path, which: str) -> None:
    file = tmp_path / "secret"
    config = {
        "token": Config(web=WebConfig(token_file=str(file))),
        "messages": Config(notify=NotifyConfig(urls_file=str(file))),
    }[which]
    # the daemon makes a token by itself, but nobody else's secrets
    missing = State.OK if which == "token" else State.FAILED
    assert [(check.name, check.state) for check in checks.secrets(config)] == [(which, missing)]
    file.write_text("secret")
    file.chmod(0o640)
    assert [check.fix for check in checks.secrets(config)] == [f"chmod 600 {file}"]
    file.chmod(0o600)
    assert [check.state for check in checks.secrets(config)] == [State.OK]
    assert list(checks.secrets(Config())) == []


def test_a_user_service_without_lingering_is_a_warning(tmp_path: Path) -> None:
    session = Session(env={"HOME": str(tmp_path), "USER": "ada"})
    assert list(checks.lingering(session, tmp_path)) == []
    unit = tmp_path / ".config/systemd/user/homerun.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (check,) = checks.lingering(session, tmp_path)
    assert (check.state, check.fix) == (State.WARNING, "loginctl enable-linger ada")
    linger = tmp_path / "var/lib/systemd/linger"
    linger.mkdir(parents=True)
    (linger / "ada").touch()
    (check,) = checks.lingering(session, tmp_path)
    assert check.state is State.OK


def test_the_checks_of_the_machine_change_nothing_and_always_answer() -> None:
    before = shutil.disk_usage("/").total
    assert checks.gpu().name == "gpu"
    assert checks.clock_synchronised().state in (State.OK, State.WARNING)
    assert shutil.disk_usage("/").total == before


def test_a_ups_that_does_not_answer_fails_with_what_to_try() -> None:
    assert checks.ups(Config()).state is State.OK
    check = checks.ups(Config(ups=UpsConfig(name="home", port=1)))
    assert check.state is State.FAILED
    assert "does not answer" in check.message
    assert "upsc home@127.0.0.1:1" in check.fix
