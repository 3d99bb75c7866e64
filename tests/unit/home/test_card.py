"""The card that the daemon works with: a real one, none, or one that says that it is a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.home.assisted_gpu import AssistedGpu
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import Gpu
from orchestrator.home.limiter import NoLimiter
from orchestrator.home.simulated_gpu import LIMITS, SimulatedGpu, SimulatedMeter
from orchestrator.paths import Paths
from orchestrator.power import card
from orchestrator.power.card import card_of, limiter_of, meter_for
from orchestrator.settings.config import Config
from orchestrator.settings.power_config import PowerConfig

SIMULATED = PowerConfig(card="simulated")


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def install(monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None) -> None:
    monkeypatch.setattr(card, "installed_gpu", lambda: gpu)


def test_a_machine_without_a_card_has_none_unless_one_is_simulated(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, stack: contextlib.ExitStack
) -> None:
    install(monkeypatch, None)
    assert card_of(PowerConfig(), clock, stack, lambda: True) is None
    gpu = card_of(SIMULATED, clock, stack, lambda: True)
    assert gpu is not None
    assert gpu.source == "simulated"


def test_a_simulated_card_draws_power_while_the_trainer_computes(
    clock: FakeClock, stack: contextlib.ExitStack
) -> None:
    computing = False
    gpu = card_of(SIMULATED, clock, stack, lambda: computing)
    assert gpu is not None
    idle = gpu.read().power_watts
    computing = True
    assert (idle, gpu.read().power_watts) == (8.0, LIMITS.default_watts)
    power = meter_for(gpu, SIMULATED, Config().ups, clock, stack).read()
    assert (power.watts, power.source, power.measured) == (200.0, "simulated", False)


def test_a_meter_that_was_asked_for_by_name_is_used_with_a_simulated_card_too(
    clock: FakeClock, stack: contextlib.ExitStack
) -> None:
    wanted = PowerConfig(card="simulated", meter="model")
    gpu = card_of(wanted, clock, stack, lambda: True)
    assert meter_for(gpu, wanted, Config().ups, clock, stack).read().source == "estimated"


def test_a_lost_simulated_card_says_nothing_rather_than_zero(clock: FakeClock) -> None:
    assert SimulatedMeter(SimulatedGpu(clock, lost=True)).read().watts is None


def test_the_limiter_follows_a_real_card_and_lets_go_at_the_end(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, tmp_path: Path
) -> None:
    real = SimulatedGpu(clock)
    install(monkeypatch, real)
    with contextlib.ExitStack() as stack:
        gpu = card_of(PowerConfig(), clock, stack, lambda: True)
        assert isinstance(gpu, AssistedGpu)
        limiter_of(gpu, PowerConfig(), Paths(tmp_path), stack).apply(120.0)
        assert real.limit_watts == 120.0
    assert real.limit_watts == LIMITS.default_watts


def test_who_wants_no_limits_gets_none(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    install(monkeypatch, SimulatedGpu(clock))
    never = PowerConfig(limit=False)
    gpu = card_of(never, clock, stack, lambda: True)
    assert isinstance(limiter_of(gpu, never, Paths(tmp_path), stack), NoLimiter)
    assert isinstance(limiter_of(None, PowerConfig(), Paths(tmp_path), stack), NoLimiter)
