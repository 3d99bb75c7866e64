"""A daemon that cannot start says what is wrong and how to mend it, and changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.story.conftest import Undisturbed
from tests.story.house import HOMERUN, House, digest, wait_for


def start_and_fail(house: House) -> tuple[int, str]:
    process = house.launch()
    return process.wait(timeout=60), house.output()


def test_a_wrong_configuration_names_file_line_and_key(house: House) -> None:
    with house.config.open("a", encoding="utf-8") as file:
        file.write("prot = 1\n[powr]\nidle_watts = 3\n")
    code, output = start_and_fail(house)
    assert code == 78
    assert f"{house.config}:" in output
    assert "did you mean 'port'" in output
    assert "did you mean 'power'" in output
    assert not house.state.exists()


def test_a_taken_port_is_named(house: House) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = house.config.read_text(encoding="utf-8").replace("port = 0", f"port = {port}")
        house.config.write_text(text, encoding="utf-8")
        code, output = start_and_fail(house)
    assert code == 77
    assert f"port {port}" in output
    assert "fix:" in output


def test_a_state_directory_of_another_daemon_is_left_alone(house: House) -> None:
    house.start()
    first = house.process
    assert first is not None
    code, output = start_and_fail(house)
    assert code == 77
    assert f"pid {first.pid}" in output
    house.process = first
    assert house.status()["daemon"]["pid"] == first.pid


def test_a_state_directory_that_cannot_be_written_is_named(house: House) -> None:
    house.state.write_text("a file where a directory should be", encoding="utf-8")
    code, output = start_and_fail(house)
    assert code == 77
    assert str(house.state) in output
    assert "daemon.state_dir" in output


def test_a_garbage_store_is_not_overwritten(house: House) -> None:
    house.state.mkdir()
    store = house.state / "homerun.sqlite"
    store.write_bytes(b"this is no database" * 500)
    code, output = start_and_fail(house)
    assert code == 78
    assert "damaged" in output
    assert store.read_bytes() == b"this is no database" * 500


def test_no_start_on_a_public_address_without_a_token(house: House) -> None:
    with house.config.open("a", encoding="utf-8") as file:
        file.write('host = "0.0.0.0"\n')
    code, output = start_and_fail(house)
    assert code == 78
    assert "token_file" in output


def test_a_second_signal_does_not_wait_for_the_checkpoint(house: House) -> None:
    house.start()
    house.submit(steps=1_000_000, every_seconds="600")
    status = house.wait_step(2)
    os.kill(status["run"]["trainer_pid"], signal.SIGSTOP)
    assert house.process is not None
    house.process.send_signal(signal.SIGINT)
    wait_for("the drain", lambda: any(h["reason"] == "drain" for h in house.status()["holds"]))
    house.process.send_signal(signal.SIGINT)
    assert house.process.wait(timeout=30) == 0
    house.wait_gone()


def test_alone_and_under_the_daemon_the_weights_are_the_same(
    house: House, undisturbed: Undisturbed
) -> None:
    house.start()
    house.submit(steps=60)
    house.wait_finished()
    assert digest(house.run_dir(), 60) == undisturbed(60)


def test_the_demo_shows_itself_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    """On a real terminal: a pseudo-terminal with Ctrl-C typed into it."""
    house = House(tmp_path / "house")
    master, slave = os.openpty()
    process = subprocess.Popen(
        [*HOMERUN, "demo"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**house.environment, "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "40"},
        start_new_session=True,
        preexec_fn=lambda: _own_terminal(slave),
    )
    os.close(slave)
    os.set_blocking(master, False)
    shown = bytearray()

    def screen() -> str:
        while True:
            try:
                piece = os.read(master, 65536)
            except (BlockingIOError, OSError):
                return shown.decode(errors="replace")
            if not piece:
                return shown.decode(errors="replace")
            shown.extend(piece)

    try:
        wait_for("the view", lambda: "first-run" in screen() and "Ctrl-C" in screen())
        os.write(master, b"\x03")
        wait_for("its end", lambda: process.poll() is not None or not screen())
        assert process.wait(timeout=60) == 0
        assert "homerun: stopped; first-run" in screen()
    finally:
        process.kill()
        process.wait()
        os.close(master)
    house.wait_gone()


def _own_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("text", ["", "name = 1", "[run\n"])
def test_the_trainer_alone_names_what_is_wrong_with_a_spec(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    done: Any = subprocess.run(
        [sys.executable, "-m", "trainer", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
