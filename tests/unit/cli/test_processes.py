"""What only a real process shows: imports, terminals, signals, subprocesses."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.cli import live
from orchestrator.cli.groups import serve
from orchestrator.home import gpu
from orchestrator.home.clock import FakeClock
from orchestrator.home.simulated_gpu import SimulatedGpu
from tests.unit.cli.api_double import ApiDouble, error
from tests.unit.cli.conftest import Run

HOMERUN = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
HEAVY = (
    "torch",
    "ray",
    "numpy",
    "sqlalchemy",
    "alembic",
    "apscheduler",
    "starlette",
    "uvicorn",
    "prometheus_client",
    "pydantic",
    "rich",
)


def test_status_imports_nothing_heavy(double: ApiDouble) -> None:
    command = [sys.executable, "-X", "importtime", *HOMERUN[1:], "status"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = set(re.findall(r"^import time:.*\| +([a-zA-Z0-9_]+)", result.stderr, re.MULTILINE))
    assert "click" in imported, "the list is read rightly"
    assert imported.isdisjoint(HEAVY), imported & set(HEAVY)
    assert "Training first-run" in result.stdout


def test_output_to_a_pipe_that_closes_is_no_traceback(double: ApiDouble) -> None:
    process = subprocess.Popen(
        [*HOMERUN, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(30)
    process.stderr.close()


def test_a_reader_of_json_lines_may_leave_when_it_has_enough(double: ApiDouble) -> None:
    process = subprocess.Popen(
        [*HOMERUN, "status", "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["schema"] == 1
    process.stdout.close()
    double.set("GET", "status", error("stopping", 503, "gone"))
    assert process.wait(30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_terminal_without_unicode_gets_plain_signs(double: ApiDouble) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = subprocess.run([*HOMERUN, "status"], capture_output=True, env=env, check=True)
    text = result.stdout.decode("latin-1")
    assert "###" in text
    assert "Training first-run" in text


def read_until(terminal: int, pattern: str, seconds: float = 30.0) -> str:
    text, end = "", time.monotonic() + seconds  # noqa: TID251 - the deadline of a real process
    # a read may end in the middle of a sign
    decoder = codecs.getincrementaldecoder("utf-8")()
    while not re.search(pattern, text):
        left = end - time.monotonic()  # noqa: TID251 - the deadline of a real process
        assert left > 0, f"no {pattern!r} in {text!r}"
        if select.select([terminal], [], [], left)[0]:
            text += decoder.decode(os.read(terminal, 65536))
    return text


def test_watching_on_a_terminal_ends_well_with_ctrl_c(double: ApiDouble) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*HOMERUN, "status", "--watch"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        # whoever runs the tests in a shell's background hands down a Ctrl-C that is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    try:
        text = read_until(ours, "the run goes on")
        assert "1,204 of 18,310" in text
        process.send_signal(signal.SIGINT)
        assert "\x1b[?25h" in read_until(ours, r"\x1b\[\?25h"), "the cursor is shown again"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


# --- serve and demo -------------------------------------------------------------------------


class Daemon(ModuleType):
    """Stands in for orchestrator.daemon and remembers how it was started."""

    def __init__(self, exit_code: int = 0) -> None:
        super().__init__("orchestrator.daemon")
        self.calls: list[tuple[Any, dict[str, Any]]] = []
        self.exit_code = exit_code

    def run_daemon(self, config: Any, **given: Any) -> int:
        self.calls.append((config, given))
        return self.exit_code


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    module = Daemon()
    monkeypatch.setitem(sys.modules, "orchestrator.daemon", module)
    return module


def test_serve_starts_the_daemon_with_the_checked_configuration(
    daemon: Daemon, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text("[web]\nport = 9000\n")
    daemon.exit_code = 5
    assert run("serve", "--config", str(file)).exit_code == 5
    ((config, given),) = daemon.calls
    assert config.web.port == 9000
    # and with a way to read it again
    assert set(given) == {"read_config"}
    file.write_text("[web]\nport = 9001\n")
    assert given["read_config"]().web.port == 9001


def test_serve_refuses_a_wrong_configuration_before_anything_starts(
    daemon: Daemon, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "homerun.toml"
    file.write_text('[web]\nhost = "0.0.0.0"\n')
    result = run("--config", str(file), "serve")
    assert result.exit_code == 78
    assert "token_file must be set" in result.stderr
    assert daemon.calls == []


def test_demo_trains_the_built_in_run_with_the_live_view(daemon: Daemon, run: Run) -> None:
    assert run("demo").exit_code == 0
    ((_, given),) = daemon.calls
    assert given["first_run"] == serve.first_run()
    assert given["watch"] is live.watch
    assert given["until_finished"] is True


def test_demo_without_a_card_simulates_one_and_serve_never_does(
    daemon: Daemon, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "installed_gpu", lambda: None)
    run("demo")
    run("serve")
    monkeypatch.setattr(gpu, "installed_gpu", lambda: SimulatedGpu(FakeClock()))
    run("demo")
    assert [config.power.card for config, _ in daemon.calls] == ["simulated", "auto", "auto"]


def test_the_first_run_is_as_small_as_promised() -> None:
    spec = serve.first_run()
    assert spec["name"] == "first-run"
    assert spec["data"]["corpus"] == "default"
    assert spec["train"]["tokens"] <= 5_000_000


# --- export ---------------------------------------------------------------------------------


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in Python's place that writes down how it was called."""
    script = tmp_path / "python"
    script.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" > "$0.called"\n'
        'if [ -e "$0.fail" ]; then echo "no checkpoint" >&2; exit 1; fi\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setenv("HOMERUN_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "state" / "runs" / "first-run").mkdir(parents=True)
    return script


def test_export_hands_over_to_the_trainer(exporter: Path, run: Run, tmp_path: Path) -> None:
    result = run("export", "first-run", "--to", "hf", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'out'}\n")
    called = Path(f"{exporter}.called").read_text().split()
    run_dir = tmp_path / "state" / "runs" / "first-run"
    assert called == ["-m", "trainer.export", str(run_dir), str(tmp_path / "out"), "--to", "hf"]


def test_an_export_that_fails_is_1(exporter: Path, run: Run, tmp_path: Path) -> None:
    Path(f"{exporter}.fail").touch()
    result = run("export", "first-run", "--to", "hf", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "first-run was not exported" in result.stderr


@pytest.mark.parametrize("name", ["frist-run", "nothing-like-it", "..", "first-run/..", ""])
def test_an_unknown_run_is_not_exported(
    exporter: Path, run: Run, tmp_path: Path, name: str
) -> None:
    result = run("export", name, "--to", "hf", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert f"no run {name!r}" in result.stderr
    assert "first-run" in result.stderr
    assert not Path(f"{exporter}.called").exists()


def test_export_never_overwrites(exporter: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").touch()
    assert run("export", "first-run", "--to", "hf", str(out)).exit_code == 77
    assert not Path(f"{exporter}.called").exists()
