"""How the daemon is put together: nobody asks for what is not there yet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.assembly import assemble
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
    config = Config.model_validate(
        {
            "daemon": {"state_dir": str(tmp_path)},
            "web": {"port": 0},
            "power": {"card": "simulated"},
        }
    )
    paths = Paths(tmp_path)
    paths.runs.mkdir()
    with contextlib.ExitStack() as stack:
        daemon = assemble(config, paths, stack)
        assert daemon.gpu_loss is not None
        assert not daemon.gpu_loss.leaves
