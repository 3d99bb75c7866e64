"""How the daemon is put together: nobody asks for what is not there yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.assembly import Daemon, assemble
from orchestrator.daemon import _after_tick
from orchestrator.domain import Reason
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.paths import Paths
from orchestrator.settings.config import Config


class Eager:
    """A poller whose thread runs at once, and only once."""

    def __init__(self, name: str, ask: Callable[[], None], every_seconds: float) -> None:
        ask()

    def close(self) -> None:
        pass


def test_a_simulated_card_is_first_asked_when_there_is_a_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.power.gpu_loss.Poller", Eager)
    with contextlib.ExitStack() as stack:
        daemon = with_a_simulated_card(tmp_path, stack)
        assert daemon.gpu_loss is not None
        assert not daemon.gpu_loss.leaves


def test_an_xid_that_loses_the_card_ends_the_daemon_once_with_the_cause_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards: list[SimulatedGpu] = []
    post_init = SimulatedGpu.__post_init__

    def remember(self: SimulatedGpu) -> None:
        post_init(self)
        cards.append(self)

    monkeypatch.setattr(SimulatedGpu, "__post_init__", remember)
    with contextlib.ExitStack() as stack:
        daemon = with_a_simulated_card(tmp_path, stack)
        supervisor = daemon.supervisor
        supervisor.recover()
        cards[0].xids.throw(79, "GPU has fallen off the bus.")
        supervisor.take(supervisor.inbox.get(timeout=30.0))
        supervisor.tick()
        assert supervisor.board.snapshot().setpoint.reasons == (Reason.GPU_LOST,)
        _after_tick(daemon, None)
        assert supervisor.draining
        told = {entry.kind: entry.message for entry in daemon.commands.journal(limit=10)}
        assert "Xid 79: GPU has fallen off the bus" in told["gpu_xid"]
        assert "Xid 79" in told["hold_started"]
        assert "the daemon ends" in told["gpu_lost"]
        assert daemon.lookout.look().xids == {79: 1}


def with_a_simulated_card(tmp_path: Path, stack: contextlib.ExitStack) -> Daemon:
    config = Config.model_validate(
        {
            "daemon": {"state_dir": str(tmp_path)},
            "web": {"port": 0},
            "power": {"card": "simulated"},
        }
    )
    paths = Paths(tmp_path)
    paths.runs.mkdir()
    return assemble(config, paths, stack)
