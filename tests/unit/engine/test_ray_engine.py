"""The engine process with a real Ray head. Starts take seconds, so one engine serves many."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from orchestrator.engine import process
from orchestrator.engine.base import EngineReady, TrainerEvent, TrainerExited
from orchestrator.engine.process import Identity
from orchestrator.engine.pulse import Patience
from tests.unit.engine.harness import Rig, gone, rig, wait_for
from trainer.contract.messages import Heartbeat, Pause, Phase, Save, Saved, Stop, Stopped

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
PARTS = {"host", "ray_start", "gcs_server", "raylet", "dashboard_agent", "runtime_env_agent"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Rig]:
    """One engine for the tests that leave it alive."""
    with rig("ray") as made:
        made.client.open()
        made.until_ready()
        yield made


def _pids(made: Rig) -> dict[str, int]:
    return next(note.pids for note in reversed(made.notes) if isinstance(note, EngineReady))


def _identity(pid: int) -> Identity:
    found = process.identify(pid)
    assert found is not None
    return found


def test_a_trainer_is_an_actor_that_is_commanded_and_leaves(engine: Rig) -> None:
    hello = engine.start()
    assert process.command_line(hello.pid).startswith("ray::")
    engine.client.command(Pause())
    assert engine.until_event(Phase).phase == "paused"
    engine.client.command(Save("42"))
    assert engine.until_event(Saved).request == "42"
    trainer = _identity(hello.pid)
    engine.client.command(Stop())
    engine.until_event(Stopped)
    assert engine.until_exited() == TrainerExited(engine.attempt, "exit code 0")
    assert process.identify(trainer.pid) != trainer


def test_the_actor_gives_the_trainer_what_a_plain_process_would(engine: Rig) -> None:
    engine.start()
    facts = engine.facts()
    engine.client.kill("seen")
    engine.until_exited()
    assert facts["main_thread"]
    assert facts["nice"] == os.nice(0)
    assert int(facts["oom_score_adj"]) > 0, "the trainer goes before the daemon"
    assert facts["omp_num_threads"] == os.environ.get("OMP_NUM_THREADS")
    assert facts["guardians"] == [os.getpid(), _pids(engine)["host"]]


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("exit:3", "exit code 3"),
        ("os_exit:75", "exit code 75"),
        ("raise", "raised RuntimeError: the puppet tears its strings"),
        ("die", "killed by SIGKILL"),
    ],
)
def test_how_an_actor_ended_is_said_in_words(engine: Rig, script: str, cause: str) -> None:
    engine.start(script)
    # without pidfd information (before Linux 6.15) the end of another's child stays unknown
    assert engine.until_exited().cause in (cause, "ended" if script != "exit:3" else cause)


def test_every_event_of_an_actor_comes_before_its_exit(engine: Rig) -> None:
    first = len(engine.notes)
    engine.start("chatter:3000 exit:0")
    engine.until_exited()
    micros = [
        note.event.micro
        for note in engine.notes[first:]
        if isinstance(note, TrainerEvent) and isinstance(note.event, Heartbeat)
    ]
    assert micros == list(range(3000))


def test_a_stopped_actor_with_a_child_can_be_killed(engine: Rig) -> None:
    trainer = _identity(engine.start("child").pid)
    child = _identity(int((engine.run_dir / "child.pid").read_text()))
    os.kill(trainer.pid, signal.SIGSTOP)
    engine.client.kill("hung")
    assert gone({trainer, child})()
    assert engine.until_exited().cause == "hung"


def test_an_actor_killed_before_it_said_hello_never_runs(engine: Rig) -> None:
    engine.client.start(engine.job("silent"))
    engine.client.kill("changed its mind")
    assert engine.until_exited() == TrainerExited(engine.attempt, "changed its mind")
    names = [process.command_line(item.pid) for item in engine.members()]
    assert not [name for name in names if "TrainerActor" in name]


def test_nothing_of_the_engine_listens_beyond_the_loopback_interface(engine: Rig) -> None:
    engine.start()
    listening = [
        (process.command_line(item.pid)[:60], connection.laddr.ip)
        for item in engine.members()
        for connection in psutil.Process(item.pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    engine.client.kill("seen")
    engine.until_exited()
    assert len(listening) >= 4
    assert [item for item in listening if item[1] not in LOOPBACK] == []


def test_the_head_is_lean_and_the_token_private(engine: Rig) -> None:
    assert set(_pids(engine)) == PARTS
    commands = [process.command_line(item.pid) for item in engine.members()]
    assert wait_for(
        lambda: (
            not any(
                "dashboard/dashboard.py" in process.command_line(item.pid)
                for item in engine.members()
            )
        )
    )
    assert not [line for line in commands if "log_monitor" in line or "monitor.py" in line]
    token = engine.runtime_dir / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) >= 32


# the module's engine goes first: Ray heads are heavy, and only one is needed at a time
def test_shutdown_leaves_nothing_of_ray(engine: Rig) -> None:
    engine.start("child")
    members = engine.members()
    assert len(members) >= 7
    engine.client.shutdown()
    assert gone(members)()
    assert engine.members() == set()


@pytest.mark.parametrize("part", ["host", "ray_start", "gcs_server", "raylet"])
def test_a_part_that_is_killed_takes_everything_with_it(part: str) -> None:
    with rig("ray") as made:
        made.client.open()
        pids = made.until_ready().pids
        trainer = made.start("child").pid
        members = made.members() | {_identity(trainer)}
        os.kill(pids[part], signal.SIGKILL)
        lost = made.until_lost(10.0)
        assert gone(members)()
        assert made.members() == set()
        assert "killed by SIGKILL" in lost.cause
        assert part == "host" or part in lost.cause


def test_a_stopped_host_is_killed_with_all_of_ray() -> None:
    with rig("ray", answer_seconds=0.5) as made:
        made.client.open()
        pids = made.until_ready().pids
        made.start()
        members = made.members()
        os.kill(pids["host"], signal.SIGSTOP)
        made.client.kill("hung")
        assert gone(members)()
        assert made.until_exited().cause == "hung"
        assert "did not answer" in made.until_lost().cause


def _daemon(made: Rig, *options: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tests.unit.engine.daemon", "ray"]
    return subprocess.Popen(
        [*line, str(made.state_dir), str(made.runtime_dir), *options],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_when_the_daemon_is_killed_nothing_of_ray_is_left() -> None:
    with rig("ray") as made, _daemon(made) as daemon:
        assert daemon.stdout is not None
        pids: dict[str, int] = json.loads(daemon.stdout.readline())
        members = made.members() | {_identity(pid) for pid in pids.values()}
        os.kill(pids["trainer"], signal.SIGSTOP)
        daemon.kill()
        daemon.wait()
        assert wait_for(gone(members), 10.0)
        assert made.members() == set()


def _newborn(made: Rig, part: str) -> Identity:
    """As soon as it is there, before Ray is up."""
    found: list[Identity] = []

    def look() -> bool:
        lines = [(item, process.command_line(item.pid)) for item in made.members()]
        found.extend(item for item, line in lines if part in line.split(" ")[0])
        return bool(found)

    assert wait_for(look, 30.0)
    return found[0]


def test_a_gcs_that_hangs_while_ray_starts_is_named_and_all_of_it_killed() -> None:
    with rig("ray", patience=Patience(hung_after_seconds=4.0, start_seconds=30.0)) as made:
        made.client.open()
        gcs = _newborn(made, "gcs/gcs_server")
        # by then the GCS has answered, and is not given the time of one that comes up
        _newborn(made, "raylet/raylet")
        process.send_signal(gcs, signal.SIGSTOP)
        members = made.members() | {gcs}
        lost = made.until_lost(60.0)
        assert gone(members)()
        assert made.members() == set()
        assert lost.cause == "the GCS does not answer: it is stopped by a signal"


def test_a_daemon_killed_while_ray_hangs_at_its_start_leaves_nothing() -> None:
    with rig("ray") as made, _daemon(made, "--only-open") as daemon:
        process.send_signal(_newborn(made, "gcs/gcs_server"), signal.SIGSTOP)
        members = made.members()
        daemon.kill()
        daemon.wait()
        assert wait_for(gone(members), 10.0)
        assert made.members() == set()


def test_what_daemon_and_host_left_together_is_swept_at_the_next_open() -> None:
    with rig("ray") as made, _daemon(made) as daemon:
        assert daemon.stdout is not None
        pids: dict[str, int] = json.loads(daemon.stdout.readline())
        leftovers = made.members()
        os.kill(pids["host"], signal.SIGSTOP)
        # the wake-up call at the daemon's death finds a host that is dead, too
        os.kill(pids["host"], signal.SIGKILL)
        daemon.kill()
        daemon.wait()
        made.client.open()
        assert gone(leftovers)()
        made.until_ready()


def test_a_ray_that_cannot_start_is_a_loss_that_says_why() -> None:
    # Ray refuses an object store of less than 75 MB
    with rig("ray", object_store_bytes=1000) as made:
        made.client.open()
        lost = made.until_lost(60.0)
        assert "ray" in lost.cause.lower()
        assert made.members() == set()
