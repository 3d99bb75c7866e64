"""What makes a step bad, and when the run goes back because of it."""

from __future__ import annotations

import json
import math
import random

import pytest

from trainer.contract.spec import GuardSpec
from trainer.health import DivergedError, Health

GUARD = GuardSpec(max_bad_steps=3, max_rollbacks=2, spike_window=32)


def trained(steps: int, guard: GuardSpec = GUARD, seed: int = 3) -> Health:
    """After so many ordinary steps: a falling, wavering loss, a wavering gradient."""
    health, dice = Health(guard), random.Random(seed)
    for step in range(steps):
        loss = 3.0 + 6.0 * 0.97**step + dice.gauss(0, 0.03)
        assert health.judge(loss, math.exp(dice.gauss(0, 0.3))) == ""
    return health


@pytest.mark.parametrize("seed", range(20))
def test_an_ordinary_run_has_no_bad_step(seed: int) -> None:
    assert trained(500, seed=seed).bad_steps == 0


@pytest.mark.parametrize(
    ("loss", "norm", "word"),
    [
        (math.nan, 1.0, "loss nan"),
        (3.0, math.inf, "gradient inf"),
        (9.5, 1.0, "loss 9.5"),
        (3.0, 1e4, "gradient 1e+04"),
    ],
)
def test_what_is_bad_about_a_step_is_said(loss: float, norm: float, word: str) -> None:
    health = trained(200)
    assert word in health.judge(loss, norm)
    assert health.bad_steps == 1
    assert health.judge(3.0, 1.0) == ""
    assert health.bad_steps == 0


@pytest.mark.parametrize(("loss", "norm"), [(3.3, 1.0), (0.1, 1.0), (3.0, 4.0), (3.0, 0.0)])
def test_what_is_merely_unusual_or_low_is_not_bad(loss: float, norm: float) -> None:
    assert trained(200).judge(loss, norm) == ""


def test_a_loss_that_never_wavers_may_rise_a_little() -> None:
    health = Health(GUARD)
    for _ in range(40):
        health.judge(2.0, 1.0)
    assert health.judge(2.1, 1.5) == ""
    assert health.judge(3.0, 1.0) != ""


def test_nothing_is_a_spike_before_it_is_known_what_is_usual_nor_when_switched_off() -> None:
    assert trained(GUARD.spike_window // 2 - 1).judge(1e6, 1e6) == ""
    assert trained(200, GuardSpec(spike_sigmas=0.0)).judge(1e6, 1e6) == ""


def test_one_bad_step_is_endured_and_so_many_in_a_row_go_back() -> None:
    health = trained(100)
    for step in (101, 102):
        health.judge(math.nan, math.nan)
        assert health.retreat(step) is None
    health.judge(math.nan, math.nan)
    retreat = health.retreat(103)
    assert retreat is not None
    assert (retreat.from_step, retreat.first_bad_step, retreat.first_step) == (103, 100, 100)
    assert "nan" in retreat.why


def test_at_the_same_place_the_road_is_left_out_and_then_it_gives_up() -> None:
    health = trained(100)
    roads = []
    for _ in range(2):
        for _ in range(3):
            health.judge(math.nan, math.nan)
        retreat = health.retreat(103)
        assert retreat is not None
        health.went_back(retreat)
        roads.append((retreat.times, retreat.first_bad_step - retreat.first_step))
    assert roads == [(1, 0), (2, 12)]
    for _ in range(3):
        health.judge(math.nan, math.nan)
    with pytest.raises(DivergedError, match=r"after going back 2 times.*\[guard\]"):
        health.retreat(110)


def test_trouble_far_away_is_trouble_of_its_own() -> None:
    health = trained(100)
    for step in (103, 400):
        for _ in range(3):
            health.judge(math.nan, math.nan)
        retreat = health.retreat(step)
        assert retreat is not None
        assert retreat.times == 1
        health.went_back(retreat)


def test_what_is_remembered_survives_a_checkpoint() -> None:
    health = trained(77)
    health.judge(math.nan, 1.0)
    copy = Health(GUARD)
    copy.load(json.loads(json.dumps(health.to_plain())))
    assert copy.to_plain() == health.to_plain()
    for loss in (3.0, 11.0, 3.1):
        assert copy.judge(loss, 1.0) == health.judge(loss, 1.0)
