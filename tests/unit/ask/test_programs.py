"""The commands as a person types them: real processes, a terminal, pipes, signals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.ask.conftest import Ended

ROOT = Path(__file__).parents[3]
HOMERUN = [sys.executable, "-c", "from orchestrator.cli import main; main()"]


@pytest.fixture
def env(trained: Callable[[str], Ended]) -> dict[str, str]:
    """The environment of a person whose state directory has the run "fp32"."""
    home = trained("fp32").dir.parents[1]
    quiet = {"HOMERUN_STATE_DIR": str(home), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    unset = ("HOMERUN_CONFIG", "HOMERUN_URL", "INPUTRC")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, **quiet, "TERM": "dumb", "HOME": str(home)}


def homerun(env: dict[str, str], *arguments: str, given: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [*HOMERUN, *arguments], env=env, input=given, capture_output=True, text=True, check=False
    )


def test_a_sample_is_what_the_trainer_wrote_when_it_had_finished(
    trained: Callable[[str], Ended], env: dict[str, str]
) -> None:
    ended = trained("fp32")
    done = homerun(env, "sample", "fp32", "--tokens", "96")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == ended.finished.sample.rstrip("\n")
    assert f"fp32 after step {ended.finished.step}" in done.stderr


def test_an_evaluation_of_a_pipe_in_json(env: dict[str, str]) -> None:
    done = homerun(env, "eval", "fp32", "-", "--json", given="the run goes on\n")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["evaluation"]
    assert (found["bytes"], found["texts"], found["device"]) == (16, ["-"], "cpu")
    assert 0 < found["bits_per_byte"] < 20
    assert done.stderr == "", "words only where nobody parses"


def test_a_piped_conversation_writes_only_the_models_text_to_standard_output(
    env: dict[str, str],
) -> None:
    done = homerun(env, "chat", "fp32", "--tokens", "5", given="the run\n/new\nthe run")
    assert done.returncode == 0, done.stderr
    assert "pretrained base model: it does not answer" in done.stderr
    assert ">" not in done.stdout.replace("\n", "")[:1]


class Terminal:
    """A pseudo-terminal whose foreground process is ``homerun``."""

    def __init__(self, env: dict[str, str], *arguments: str) -> None:
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.execvpe(HOMERUN[0], [*HOMERUN, *arguments], env)
        self.text = ""
        self._seen = 0

    def until(self, wanted: str, seconds: float = 120.0) -> None:
        while wanted not in self.text[self._seen :]:
            ready, _, _ = select.select([self._handle], [], [], seconds)
            assert ready, f"no {wanted!r} in {self.text!r}"
            try:
                self.text += os.read(self._handle, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"ended without {wanted!r}: {self.text!r}") from None
        self._seen = self.text.index(wanted, self._seen) + len(wanted)

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def ends_after(self, key: str) -> int:
        """Press ``key`` until the program is gone; its exit code.

        A key that comes in the instant between readline's prompt and its listening is lost.
        """
        self.type(key)
        while self._more(key):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _more(self, key: str) -> bool:
        try:
            if select.select([self._handle], [], [], 1.0)[0]:
                self.text += os.read(self._handle, 65536).decode(errors="replace")
            else:
                self.type(key)
        except OSError:  # what a terminal says when the last process has left it
            return False
        return True

    def close(self) -> None:
        os.close(self._handle)


@pytest.fixture
def chat(env: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal(env, "chat", "fp32", "--tokens", "100000")
    yield terminal
    terminal.close()


def test_at_a_terminal_ctrl_c_stops_the_writing_and_at_the_prompt_it_ends(chat: Terminal) -> None:
    chat.until("> ")
    chat.type("the run\n")
    chat.until("the run\r\n")
    chat.until(" ")  # it writes; a hundred thousand tokens would take minutes
    chat.type("\x03")
    chat.until("> ")
    assert chat.ends_after("\x03") == 0
    assert "Traceback" not in chat.text


def test_a_reader_that_leaves_ends_the_writing_without_a_traceback(env: dict[str, str]) -> None:
    command = [*HOMERUN, "sample", "fp32", "--tokens", "100000"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # at once: a model that soon writes its end would be done before a reader who waits
        process.stdout.close()
        words = process.stderr.read()
    assert "Traceback" not in words
    assert process.returncode == 1


def test_the_model_ends_with_the_command_that_asked_for_it(env: dict[str, str]) -> None:
    command = [*HOMERUN, "sample", "fp32", "--tokens", "1000000"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(20)  # it writes
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.read()  # ends only when the last one that writes to the pipe is gone
