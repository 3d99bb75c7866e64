"""A daemon that cannot start says what is wrong and how to mend it, and changes nothing."""

from __future__ import annotations

import contextlib
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


def test_a_garbage_store_is_set_aside_and_the_run_goes_on(house: House) -> None:
    """Even without any backup: the roster knows the run, its directory the checkpoints."""
    house.start()
    house.submit(steps=20)
    house.wait_step(3)
    assert house.terminate() == 0
    store = house.state / "homerun.sqlite"
    store.write_bytes(b"this is no database" * 500)
    house.start()
    house.wait_finished()
    entry = next(item for item in house.journal() if item["kind"] == "store_salvaged")
    assert f"The store {store} is damaged" in entry["message"]
    assert "From the roster came back: tiny" in entry["message"]
    aside = next(house.state.glob("damaged-store-*"))
    assert (aside / store.name).read_bytes() == b"this is no database" * 500
    assert max(house.run_record()["attempts"], key=lambda one: one["number"])["number"] > 1


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


@pytest.mark.parametrize("by_make", [False, True], ids=["homerun demo", "make"])
def test_the_demo_shows_itself_and_ends_well_on_ctrl_c(tmp_path: Path, by_make: bool) -> None:
    """On a real terminal: a pseudo-terminal with Ctrl-C typed into it."""
    house = House(tmp_path / "house")
    command = [*HOMERUN, "demo"]
    if by_make:
        makefile = tmp_path / "Makefile"
        makefile.write_text(f"run:\n\t@{' '.join(command)}\n", encoding="utf-8")
        command = ["make", "-f", str(makefile), "run"]
    with Terminal(command, house.environment) as terminal:
        terminal.wait_shows("first-run", "Ctrl-C")
        terminal.type(b"\x03")
        assert terminal.process.wait(timeout=60) == 0
        terminal.wait_shows("homerun: stopped; first-run")
    house.wait_gone()


class Terminal:
    """A pseudo-terminal with a program on it."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        self._shown = bytearray()
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm-256color", "COLUMNS": "90", "LINES": "40"},
            start_new_session=True,
            preexec_fn=lambda: _own_terminal(slave),
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_shows(self, *texts: str) -> None:
        wait_for(f"{texts} on the screen", lambda: all(text in self._screen() for text in texts))

    def _screen(self) -> str:
        # A terminal whose last program has ended answers with an I/O error.
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(self._master, 65536):
                self._shown.extend(piece)
        return self._shown.decode(errors="replace")


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
