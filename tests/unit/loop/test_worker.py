"""The trainer under an engine: the whole process, from its job to its exit code."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.loop import support
from tests.unit.loop.support import HandClock
from trainer import lifeline, log, worker
from trainer.checkpoint import catalog
from trainer.contract import messages
from trainer.contract.job import Guardian, Job
from trainer.contract.messages import (
    Failed,
    Finished,
    Hello,
    Pause,
    Phase,
    Ready,
    Resume,
    Save,
    Saved,
    Step,
    Stopped,
)
from trainer.lifeline import start_ticks

ROOT = Path(__file__).parents[3]
LONG = 100_000


class Engine:
    """Listens where the job says, and reads everything in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.events: list[Any] = []
        self.ended = threading.Event()
        self._hooks: dict[type, Callable[[], None]] = {}
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.settimeout(60)
        self._server.bind(self.path)
        self._server.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def on(self, kind: type, do: Callable[[], None]) -> None:
        """Do something once, when the first event of this kind has come."""
        self._hooks[kind] = do

    def send(self, *commands: messages.Command) -> None:
        self._line.sendall(b"".join(messages.encode(command) for command in commands))

    def hang_up(self) -> None:
        self._line.shutdown(socket.SHUT_RDWR)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def close(self) -> None:
        self._server.close()
        self._thread.join(60)

    def _serve(self) -> None:
        self._line, _ = self._server.accept()
        with self._line, self._line.makefile("rb") as lines:
            for line in lines:
                event = messages.decode(line)
                self.events.append(event)
                self._hooks.pop(type(event), lambda: None)()
        self.ended.set()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def served(job: Job, engine: Engine) -> Job:
    """The tiny run's first attempt, guarded by this very process."""
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    guardians = (Guardian(os.getpid(), ticks),)
    return dataclasses.replace(job, socket=engine.path, guardians=guardians)


def endless(job: Job) -> Job:
    """The same with a horizon that nobody will see."""
    train = dataclasses.replace(job.spec.train, steps=LONG, eval_every_steps=0)
    return dataclasses.replace(job, spec=dataclasses.replace(job.spec, train=train))


def start(job: Job) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.worker"], cwd=ROOT, stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job.to_dict()) + "\n")
    process.stdin.flush()
    return process


def reap(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(60)
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def test_sigterm_saves_and_leaves_and_sigint_is_left_to_the_daemon(
    served: Job, engine: Engine, run_dir: Path
) -> None:
    job = endless(served)

    def signals() -> None:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)

    engine.on(Step, signals)
    process = start(job)
    assert reap(process) == 0
    assert engine.ended.wait(10)
    assert engine.events[0] == Hello("tiny", job.attempt, process.pid)
    stopped = engine.events[-1]
    assert isinstance(stopped, Stopped)
    assert 1 <= stopped.step < LONG
    newest = catalog.list_checkpoints(run_dir)[0]
    assert newest.step == stopped.step
    assert catalog.verify(newest.path).ok
    text = (run_dir / "trainer.log").read_text()
    assert f"attempt {job.attempt} of run tiny" in text
    assert f"stopped; the run stands at step {stopped.step}" in text


def test_when_the_engine_hangs_up_the_trainer_is_gone_at_once(
    served: Job, engine: Engine, run_dir: Path
) -> None:
    engine.on(Step, engine.hang_up)
    assert reap(start(endless(served))) == -signal.SIGKILL
    assert catalog.list_checkpoints(run_dir) == []


def test_a_whole_life_in_this_process(
    served: Job,
    engine: Engine,
    run_dir: Path,
    undisturbed: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    ties: list[lifeline.Lifeline],
) -> None:
    """As a Ray actor lives it: served in the main thread, and the process stays afterwards."""
    engine.on(Step, lambda: engine.send(Pause(), Save("from above"), Resume()))
    engine.on(Finished, engine.hang_up)  # no reason to die: everything has been said
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert worker.serve(served) == 0
    assert engine.ended.wait(10)
    kinds = [type(event) for event in engine.events]
    assert kinds[0] is Hello
    assert kinds.index(Ready) < kinds.index(Step) < kinds.index(Saved)
    assert kinds[-1] is Finished
    assert "paused" in [event.phase for event in engine.of(Phase)]
    assert "from above" in [event.request for event in engine.of(Saved)]
    assert support.fingerprint(run_dir) == undisturbed
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"
    assert "finished at step 4" in (run_dir / "trainer.log").read_text()


@pytest.fixture
def ties(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[lifeline.Lifeline]]:
    """Lifelines made by the worker, untied when the test is over."""
    made: list[lifeline.Lifeline] = []

    def tie(guardians: tuple[Guardian, ...]) -> lifeline.Lifeline:
        made.append(lifeline.Lifeline(guardians))
        return made[-1]

    monkeypatch.setattr(worker, "Lifeline", tie)
    yield made
    for each in made:
        each.stop()


def test_a_failure_is_the_last_event_and_its_trace_is_in_the_log(
    served: Job,
    engine: Engine,
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    ties: list[lifeline.Lifeline],
) -> None:
    def broken(*_arguments: Any, **_options: Any) -> Any:
        raise ZeroDivisionError("the device divided by zero")

    monkeypatch.setattr("trainer.model.NanoChat.loss", broken)
    assert worker.serve(served) == 1
    assert engine.ended.wait(10)
    assert isinstance(engine.events[-1], Failed)
    text = (run_dir / "trainer.log").read_text()
    assert "Traceback" in text
    assert "the device divided by zero" in text


@pytest.mark.parametrize("line", ["", "no json\n", "{}\n", '{"spec": {"name": "BAD"}}\n'])
def test_standard_input_without_a_job_is_refused(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    assert worker.main() == 78
    assert "no job on standard input" in capsys.readouterr().err


def test_nobody_listening_ends_the_worker_with_an_error(job: Job, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        worker.serve(dataclasses.replace(job, socket=str(tmp_path / "nobody.sock")))


def test_a_log_that_has_grown_is_set_aside_at_the_start(tmp_path: Path) -> None:
    old = tmp_path / "trainer.log"
    old.write_bytes(b"x" * (log.LIMIT_BYTES + 1))
    with log.redirected(tmp_path, HandClock()) as lines:
        lines.line("a new life")
    assert old.read_text() == "2026-12-01T00:16:40Z a new life\n"
    assert (tmp_path / "trainer.log.1").stat().st_size == log.LIMIT_BYTES + 1


def test_a_log_that_grows_is_set_aside_on_the_way(tmp_path: Path) -> None:
    with log.redirected(tmp_path, HandClock()) as lines:
        lines = log.Log(lines.path, HandClock(), limit_bytes=10_000)
        for number in range(1000):
            lines.line(f"line {number}")
        os.write(2, b"compiled code writes too\n")
    text = (tmp_path / "trainer.log").read_text()
    assert "line 999" in text
    assert text.endswith("compiled code writes too\n")
    assert len(text) < 20_000
    assert (tmp_path / "trainer.log.1").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trainer.log", "trainer.log.1"]
