"""The log, the fake, the ticket, the head's command: parts that need no process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.engine import ray_head, tether
from orchestrator.engine.base import EngineLost, EngineReady, Note, TrainerEvent, TrainerExited
from orchestrator.engine.client import EngineClient
from orchestrator.engine.fake import FakeEngine
from orchestrator.engine.launcher import Place, Ticket
from orchestrator.engine.log import BoundedLog
from orchestrator.errors import Misconfigured
from orchestrator.home.clock import SystemClock
from trainer.contract.job import Job
from trainer.contract.messages import Pause, Phase
from trainer.contract.spec import RunSpec

JOB = Job(RunSpec("fake"), 1, "/run", "/data")


def test_a_log_that_grew_too_long_is_moved_aside_and_writers_go_on(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "engine.log", limit_bytes=100)
    with log.open() as writer:
        writer.write(b"a" * 200)
        writer.flush()
        log.bound()
        writer.write(b"after")
        writer.flush()
    assert log.path.read_bytes() == b"after"
    assert (tmp_path / "engine.log.1").read_bytes() == b"a" * 200


def test_a_log_within_its_bounds_is_continued(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "engine.log", limit_bytes=100)
    for text in (b"one", b"two"):
        with log.open() as writer:
            writer.write(text)
    assert log.path.read_bytes() == b"onetwo"


def test_the_fake_runs_one_trainer_and_tells_its_story() -> None:
    notes: list[Note] = []
    engine = FakeEngine(notes.append)
    engine.open()
    engine.start(JOB)
    engine.event(Phase("train"))
    engine.command(Pause())
    engine.kill("stalled")
    engine.kill("nobody left")
    assert engine.calls == ["open", "start", "command", "kill", "kill"]
    assert engine.commands == [Pause()]
    assert [type(note) for note in notes] == [EngineReady, TrainerEvent, TrainerExited]
    assert notes[-1] == TrainerExited(1, "stalled")


def test_the_fake_refuses_a_second_trainer_and_a_start_when_closed() -> None:
    notes: list[Note] = []
    engine = FakeEngine(notes.append, ready_at_once=False)
    engine.start(JOB)
    engine.open()
    assert [type(note) for note in notes] == [TrainerExited]
    engine.start(JOB)
    engine.start(JOB)
    refusal = notes[-1]
    assert isinstance(refusal, TrainerExited)
    assert "refused" in refusal.cause
    engine.lose("gone")
    assert notes[-1] == EngineLost("gone")
    assert engine.running is None


def test_a_ticket_cancelled_before_or_after_reaches_the_launcher() -> None:
    for early in (True, False):
        reached = threading.Event()
        ticket = Ticket(lambda identity: None)
        if early:
            ticket.cancel()
        ticket.on_cancel(reached.set)
        assert early or not reached.is_set()
        ticket.cancel()
        assert reached.wait(5.0)
        assert ticket.cancelled


def test_the_head_gets_none_of_the_persons_own_ray_settings(tmp_path: Path) -> None:
    base = {"RAY_ADDRESS": "cluster:6379", "RAY_AUTH_MODE": "none", "HOME": "/home/x"}
    env = ray_head.environment(base, tmp_path / "token")
    assert "RAY_ADDRESS" not in env
    assert env["RAY_AUTH_MODE"] == "token"
    assert env["HOME"] == "/home/x"


def test_the_head_is_lean_and_bound_to_the_loopback_interface(tmp_path: Path) -> None:
    place = Place(tmp_path, Path("/run/h"), object_store_bytes=90_000_000)
    line = ray_head.command(place, {"gcs_server": 1234, "raylet": 4321}, 2, [5678, 5679])
    for part in (
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        "--port=1234",
        "--node-manager-port=4321",
        "--num-gpus=2",
        "--object-store-memory=90000000",
        "--temp-dir=/run/h/ray",
        "--include-dashboard=false",
        "--no-monitor",
        "--disable-usage-stats",
    ):
        assert part in line


def test_without_nvml_or_with_hidden_cards_there_is_no_gpu() -> None:
    assert ray_head.gpu_count({"CUDA_VISIBLE_DEVICES": ""}) == 0
    assert ray_head.gpu_count({"CUDA_VISIBLE_DEVICES": "-1"}) == 0


def test_free_ports_are_different_ones() -> None:
    assert len(set(ray_head.free_ports(5))) == 5


def test_a_tethered_command_whose_parent_is_gone_does_not_start() -> None:
    line = [sys.executable, "-m", tether.__name__, "1", "/bin/echo", "alive"]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "gone already" in result.stderr


def test_a_runtime_directory_that_is_too_long_is_refused_at_once(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    with pytest.raises(Misconfigured, match="too long"):
        EngineClient("local", tmp_path, long, lambda note: None, SystemClock())
