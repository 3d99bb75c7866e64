"""The engine process with plain children: the protocol, the kills, the fates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine import process
from orchestrator.engine.base import EngineLost, TrainerEvent, TrainerExited
from orchestrator.engine.process import Identity
from orchestrator.engine.pulse import Patience
from tests.unit.engine.harness import CLOCK, Rig, gone, rig, wait_for
from trainer.contract.messages import Heartbeat, Pause, Phase, Save, Saved, Stop, Stopped


@pytest.fixture
def ready() -> Iterator[Rig]:
    with rig("local") as made:
        made.client.open()
        made.until_ready()
        yield made


def _identity(pid: int) -> Identity:
    found = process.identify(pid)
    assert found is not None
    return found


def test_a_trainer_is_started_commanded_and_leaves(ready: Rig) -> None:
    hello = ready.start()
    assert hello.pid == ready.facts()["pid"]
    ready.client.command(Pause())
    assert ready.until_event(Phase).phase == "paused"
    ready.client.command(Save("42"))
    assert ready.until_event(Saved).request == "42"
    ready.client.command(Stop())
    assert ready.until_event(Stopped).step == 7
    assert ready.until_exited() == TrainerExited(1, "exit code 0")


def test_the_trainer_watches_daemon_and_engine(ready: Rig) -> None:
    ready.start()
    host = next(iter(ready.members() - {_identity(ready.facts()["pid"])}))
    assert ready.facts()["guardians"] == [os.getpid(), host.pid]


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("exit:3", "exit code 3"),
        ("os_exit:75", "exit code 75"),
        ("raise", "exit code 1"),
        ("die", "killed by SIGKILL"),
    ],
)
def test_how_a_trainer_ended_is_said_in_words(ready: Rig, script: str, cause: str) -> None:
    ready.start(script)
    assert ready.until_exited() == TrainerExited(1, cause)


def test_every_event_comes_before_the_exit_and_in_order(ready: Rig) -> None:
    ready.start("chatter:3000 die")
    ready.until_exited()
    micros = [
        note.event.micro
        for note in ready.notes
        if isinstance(note, TrainerEvent) and isinstance(note.event, Heartbeat)
    ]
    assert micros == list(range(3000))


def test_a_kill_returns_when_the_trainer_is_gone_and_says_why(ready: Rig) -> None:
    trainer = _identity(ready.start().pid)
    ready.client.kill("made no progress for 10 min")
    assert process.identify(trainer.pid) != trainer
    assert ready.until_exited() == TrainerExited(1, "made no progress for 10 min")


def test_a_stopped_trainer_can_be_killed(ready: Rig) -> None:
    trainer = _identity(ready.start().pid)
    os.kill(trainer.pid, signal.SIGSTOP)
    ready.client.kill("hung")
    assert process.identify(trainer.pid) != trainer
    assert ready.until_exited().cause == "hung"


def test_a_trainer_that_never_connects_can_be_killed(ready: Rig) -> None:
    ready.client.start(ready.job("silent"))
    assert wait_for((ready.run_dir / "facts.json").exists)
    trainer = _identity(ready.facts()["pid"])
    ready.client.kill("start took too long")
    assert process.identify(trainer.pid) != trainer
    assert ready.until_exited().cause == "start took too long"


@pytest.mark.parametrize("script", ["child", "child exit:0"])
def test_what_the_trainer_started_goes_with_it(ready: Rig, script: str) -> None:
    ready.start(script)
    child = Path(ready.run_dir / "child.pid").read_text()
    if "exit" not in script:
        ready.client.kill("enough")
    ready.until_exited()
    assert process.identify(int(child)) is None


def test_a_kill_without_a_trainer_does_nothing_and_the_engine_goes_on(ready: Rig) -> None:
    ready.client.kill("nobody")
    ready.start("exit:0")
    assert ready.until_exited().cause == "exit code 0"


def test_a_second_trainer_beside_the_first_is_refused(ready: Rig) -> None:
    first = _identity(ready.start().pid)
    ready.client.start(ready.job())
    note = ready.until_exited()
    assert note.attempt == 2
    assert "attempt 1 still runs" in note.cause
    assert process.identify(first.pid) == first


def test_a_start_right_after_open_waits_for_the_engine() -> None:
    with rig("local") as made:
        made.client.open()
        assert made.start("exit:0").attempt == 1
        assert made.until_exited().cause == "exit code 0"


def test_a_worker_that_cannot_be_found_is_an_exit_and_the_log_says_why() -> None:
    with rig("local", worker_module="no.such.trainer") as made:
        made.client.open()
        made.client.start(made.job())
        assert made.until_exited().cause == "exit code 1"
        assert "no.such" in made.log()


def test_without_an_engine_a_start_is_answered_and_commands_are_lost() -> None:
    with rig("local") as made:
        made.client.command(Pause())
        made.client.kill("nobody")
        made.client.start(made.job())
        assert "no engine" in made.until_exited().cause


def test_shutdown_leaves_nothing_and_is_no_loss(ready: Rig) -> None:
    trainer = _identity(ready.start("child").pid)
    ready.client.shutdown()
    assert ready.members() == set()
    assert process.identify(trainer.pid) != trainer
    assert ready.inbox.empty()


def test_a_killed_host_takes_everything_with_it_and_can_be_opened_again(ready: Rig) -> None:
    ready.start("child")
    members = ready.members()
    os.kill(ready.facts()["guardians"][1], signal.SIGKILL)
    assert ready.until_lost() == EngineLost("the engine process ended: killed by SIGKILL")
    assert gone(members)()
    assert ready.members() == set()
    ready.client.open()
    ready.until_ready()
    ready.start("exit:0")
    assert ready.until_exited().cause == "exit code 0"


def test_a_stopped_host_does_not_block_the_daemon() -> None:
    with rig("local", answer_seconds=0.3) as made:
        made.client.open()
        made.until_ready()
        made.start("child")
        members = made.members()
        os.kill(made.facts()["guardians"][1], signal.SIGSTOP)
        made.client.kill("hung")
        assert gone(members)()
        assert made.until_exited() == TrainerExited(1, "hung")
        assert "did not answer" in made.until_lost().cause


def test_shutdown_gets_rid_of_a_stopped_host() -> None:
    with rig("local", answer_seconds=0.3) as made:
        made.client.open()
        made.until_ready()
        made.start()
        os.kill(made.facts()["guardians"][1], signal.SIGSTOP)
        made.client.shutdown()
        assert made.members() == set()


def test_commands_to_a_stopped_host_never_block() -> None:
    with rig("local") as made:
        made.client.open()
        made.until_ready()
        made.start()
        os.kill(made.facts()["guardians"][1], signal.SIGSTOP)

        def lost() -> bool:
            for _ in range(1000):
                made.client.command(Pause())
            return made.has_lost()

        assert wait_for(lost, 30.0)
        assert isinstance(made.notes[-1], EngineLost)
        assert "does not read" in made.notes[-1].cause


def _stand_in_daemon(made: Rig) -> tuple[subprocess.Popen[str], dict[str, int]]:
    line = [sys.executable, "-m", "tests.unit.engine.daemon", made.kind]
    daemon = subprocess.Popen(
        [*line, str(made.state_dir), str(made.runtime_dir)], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    pids: dict[str, int] = json.loads(daemon.stdout.readline())
    daemon.stdout.close()
    return daemon, pids


@pytest.mark.parametrize("stopped", ["", "host", "trainer"])
def test_when_the_daemon_is_killed_nothing_is_left(stopped: str) -> None:
    with rig("local") as made:
        daemon, pids = _stand_in_daemon(made)
        members = {_identity(pid) for pid in pids.values()}
        if stopped:
            os.kill(pids[stopped], signal.SIGSTOP)
        daemon.kill()
        daemon.wait()
        assert wait_for(gone(members), 10.0)
        assert made.members() == set()


def test_leftovers_of_a_daemon_that_died_with_its_engine_are_swept_at_open() -> None:
    with rig("local") as made:
        daemon, pids = _stand_in_daemon(made)
        # stopped, so that no guard of its own can end it
        os.kill(pids["trainer"], signal.SIGSTOP)
        leftover = _identity(pids["trainer"])
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env=os.environ | {"HOMERUN_ENGINE": f"{process.state_hash(made.state_dir)}-old"},
        )
        os.kill(pids["host"], signal.SIGKILL)
        daemon.kill()
        daemon.wait()
        made.client.open()
        assert process.identify(leftover.pid) != leftover
        assert child.wait(5.0) is not None
        made.until_ready()


def _only_member(made: Rig) -> Identity:
    assert wait_for(lambda: len(made.members()) == 1)
    return next(iter(made.members()))


def test_a_hung_engine_process_without_a_trainer_is_noticed_and_killed() -> None:
    with rig("local", patience=Patience(hung_after_seconds=1.0)) as made:
        made.client.open()
        host = _identity(made.until_ready().pids["host"])
        process.send_signal(host, signal.SIGSTOP)
        assert made.until_lost().cause == (
            "the engine process does not answer: it is stopped by a signal"
        )
        assert gone({host})()


def test_an_engine_process_that_hangs_while_it_starts_is_noticed_and_killed() -> None:
    with rig("local", patience=Patience(hung_after_seconds=1.0, start_seconds=1.0)) as made:
        made.client.open()
        host = _only_member(made)
        process.send_signal(host, signal.SIGSTOP)
        lost = made.until_lost()
        assert lost.cause == (
            "the engine process did not become ready in 2 s: it is stopped by a signal"
        )
        assert gone({host})()


def test_an_idle_engine_is_not_taken_for_a_hung_one() -> None:
    with rig("local", patience=Patience(hung_after_seconds=1.0)) as made:
        made.client.open()
        made.until_ready()
        assert CLOCK.get(made.inbox, 2.0) is None, "nothing is said for twice the patience"
        made.start()
