"""A trainer on this machine comes first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from trainer import environment
from trainer.ask import place
from trainer.ask.errors import AskError
from trainer.checkpoint.lease import Lease


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "available_cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_nobody_trains_and_the_gpu_and_all_cores_are_ours(tmp_path: Path) -> None:
    found = place.choose(tmp_path / "runs" / "a", "auto", 0)
    assert (found.device.type, found.threads, found.polite, found.note) == ("cuda", 8, False, "")


def test_beside_the_trainer_of_another_run_we_take_half_the_cores_and_say_so(
    tmp_path: Path,
) -> None:
    with Lease.take(tmp_path / "runs" / "b", 1):
        found = place.choose(tmp_path / "runs" / "a", "auto", 0)
        forced = place.choose(tmp_path / "runs" / "a", "cuda", 3)
    assert (found.device.type, found.threads, found.polite) == ("cpu", 4, True)
    assert "a trainer has the GPU" in found.note
    assert (forced.device.type, forced.threads, forced.note) == ("cuda", 3, "")


def test_a_gpu_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AskError, match="no CUDA device"):
        place.choose(tmp_path / "runs" / "a", "cuda", 0)


def test_only_beside_a_trainer_we_step_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped: list[int] = []
    monkeypatch.setattr(os, "nice", stepped.append)
    place.settle(place.Place(torch.device("cpu"), 1, polite=False))
    assert stepped == []
    place.settle(place.Place(torch.device("cpu"), 1, polite=True))
    assert stepped == [10]
