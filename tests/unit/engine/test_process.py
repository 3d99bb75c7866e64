from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine import process
from orchestrator.engine.process import Identity
from orchestrator.errors import Misconfigured
from tests.unit.engine.harness import CLOCK

STUBBORN = (
    "import signal,sys; signal.signal(15, signal.SIG_IGN); print(1, flush=True); sys.stdin.read()"
)


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ignores SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def _identity(child: subprocess.Popen[bytes]) -> Identity:
    found = process.identify(child.pid)
    assert found is not None
    return found


def test_a_killed_process_is_gone_and_reaped_on_return(stubborn: subprocess.Popen[bytes]) -> None:
    identity = _identity(stubborn)
    assert process.kill_and_wait([identity], CLOCK, 5.0) == set()
    assert process.read_stat(identity.pid) is None


def test_a_stopped_process_can_be_killed(stubborn: subprocess.Popen[bytes]) -> None:
    identity = _identity(stubborn)
    assert process.send_signal(identity, signal.SIGSTOP)
    assert process.kill_and_wait([identity], CLOCK, 5.0) == set()
    assert process.identify(identity.pid) is None


def test_a_reused_pid_is_not_killed(stubborn: subprocess.Popen[bytes]) -> None:
    predecessor = Identity(stubborn.pid, _identity(stubborn).start_ticks - 1)
    assert process.open_pidfd(predecessor) is None
    assert not process.send_signal(predecessor, signal.SIGKILL)
    process.kill_and_wait([predecessor], CLOCK, 0.0)
    assert process.identify(stubborn.pid) is not None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit(75)", "exit code 75"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "killed by signal 40"),
    ],
)
def test_how_an_unreaped_process_ended_is_said_in_words(code: str, words: str) -> None:
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        pidfd = os.pidfd_open(child.pid)
        identity = process.read_stat(child.pid)
        assert identity is not None
        assert process.wait_pidfd(pidfd, 10.0)
        status = process.exit_status(identity.identity, pidfd)
        os.close(pidfd)
    assert process.in_words(status) == words


def test_an_unknown_end_is_not_called_a_code() -> None:
    assert process.in_words(None) == "ended"


def test_descendants_are_found_through_generations() -> None:
    def stat(pid: int, parent: int) -> process.Stat:
        return process.Stat(pid, "S", parent, 0, 0)

    table = {pid: stat(pid, parent) for pid, parent in {2: 1, 3: 2, 4: 3, 9: 1}.items()}
    assert process.descendants({2}, table) == {3, 4}


def test_a_name_with_parentheses_and_blanks_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to(Path("/bin/sleep").resolve())
    with subprocess.Popen([program, "60"]) as child:
        found = process.read_stat(child.pid)
        child.kill()
    assert found is not None
    assert found.parent == os.getpid()


def test_the_state_directory_decides_the_runtime_directory(tmp_path: Path) -> None:
    session = Path("/tmp") / f"hr-x-{os.getpid()}"
    session.mkdir()
    try:
        env = {"XDG_RUNTIME_DIR": str(session)}
        one = process.runtime_dir(tmp_path / "one", env)
        assert one == process.runtime_dir(tmp_path / "one", env)
        assert one != process.runtime_dir(tmp_path / "two", env)
        assert one.parent == session
        assert one.stat().st_mode & 0o777 == 0o700
    finally:
        for item in session.iterdir():
            item.rmdir()
        session.rmdir()


def test_a_session_directory_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    found = process.runtime_dir(tmp_path, {"XDG_RUNTIME_DIR": str(long)})
    assert found == Path("/tmp") / f"homerun-{os.getuid()}-{process.state_hash(tmp_path)}"
    found.rmdir()


def test_a_given_directory_that_is_too_long_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="too long") as caught:
        process.runtime_dir(tmp_path, {"RUNTIME_DIRECTORY": str(tmp_path / ("x" * 60))})
    assert "RUNTIME_DIRECTORY" in caught.value.fix


def test_a_runtime_directory_that_others_could_enter_is_closed(tmp_path: Path) -> None:
    given = Path("/tmp") / f"hr-y-{os.getpid()}"
    given.mkdir(mode=0o755)
    try:
        process.runtime_dir(tmp_path, {"RUNTIME_DIRECTORY": f"{given}:/run/other"})
        assert given.stat().st_mode & 0o777 == 0o700
    finally:
        given.rmdir()


def test_a_link_laid_in_the_way_is_refused(tmp_path: Path) -> None:
    given = Path("/tmp") / f"hr-z-{os.getpid()}"
    given.symlink_to(tmp_path)
    try:
        with pytest.raises(Misconfigured, match="belongs to you"):
            process.runtime_dir(tmp_path, {"RUNTIME_DIRECTORY": str(given)})
    finally:
        given.unlink()


def test_a_file_in_the_way_is_an_error_with_a_fix(tmp_path: Path) -> None:
    given = Path("/tmp") / f"hr-f-{os.getpid()}"
    given.touch()
    try:
        with pytest.raises(Misconfigured, match="cannot be made"):
            process.runtime_dir(tmp_path, {"RUNTIME_DIRECTORY": str(given)})
    finally:
        given.unlink()


def test_the_longest_directory_allowed_still_holds_rays_socket() -> None:
    room = process.SOCKET_PATH_BYTES - process.RAY_SOCKET_BYTES
    longest = Path("/" + "x" * (room - 1))
    process.check_length(longest)
    with pytest.raises(Misconfigured):
        process.check_length(longest.with_name(longest.name + "x"))
    below = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(FileNotFoundError):
        # the directory is missing, but the length is accepted
        listener.bind(str(longest) + below)
