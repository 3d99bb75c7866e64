"""homerun profile: asks, follows, and lets go."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator import domain as d
from orchestrator.home.clock import FakeClock
from orchestrator.power.profiler import LevelResult, ProfileState, ProfileView
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run

LEVELS = (200.0, 150.0)
FULL = LevelResult(200.0, 1.0, 0.2, 198.0, 40.0)
LOW = LevelResult(150.0, 0.91, 0.182, 150.0, 40.0)
RUNNING = ProfileView(ProfileState.RUNNING, "first-run", "nvml", "nvml", LEVELS, (FULL,), 0.5, "")
DONE = ProfileView(ProfileState.DONE, "first-run", "nvml", "nvml", LEVELS, (FULL, LOW), 1.0, "")


@pytest.fixture
def end(double: ApiDouble, clock: FakeClock) -> Callable[[ProfileView], None]:
    """The profile ends so after a few looks."""

    def end(view: ProfileView) -> None:
        double.set("POST", "profile", Answer(d.to_json(RUNNING), 202))
        double.set("GET", "profile", Answer(d.to_json(RUNNING)))
        double.set("POST", "profile/stop", Answer(d.to_json(RUNNING)))
        looks: list[None] = []

        def slept() -> None:
            looks.append(None)
            if len(looks) == 3:
                double.set("GET", "profile", Answer(d.to_json(view)))

        clock.on_sleep = slept

    return end


def test_the_levels_are_shown_once_they_are_measured(
    double: ApiDouble, run: Run, end: Callable[[ProfileView], None]
) -> None:
    end(DONE)
    result = run("profile")
    assert result.exit_code == 0
    assert double.asked("profile").method == "GET"
    assert "   150 W   91.0 %    150 W             +20%" in result.stdout.splitlines()
    assert result.stdout.endswith("The plan uses these levels from now on.\n")


def test_json_is_the_daemons_own(
    double: ApiDouble, run: Run, end: Callable[[ProfileView], None]
) -> None:
    end(DONE)
    document = json.loads(run("profile", "first-run", "--json").stdout)
    assert document["profile"]["results"][1]["relative_speed"] == 0.91


@pytest.mark.parametrize(
    ("card", "source", "words"),
    [
        ("simulated", "simulated", "nothing here was measured, and nothing is kept"),
        ("nvml", "estimated", "The power is estimated"),
    ],
)
def test_what_was_not_measured_is_not_called_so(
    run: Run, end: Callable[[ProfileView], None], card: str, source: str, words: str
) -> None:
    levels, results = DONE.levels, DONE.results
    end(ProfileView(ProfileState.DONE, "first-run", card, source, levels, results, 1.0, ""))
    assert words in run("profile").stdout


def test_a_profile_that_fails_says_why(run: Run, end: Callable[[ProfileView], None]) -> None:
    end(ProfileView(ProfileState.FAILED, "first-run", message="disturbed by thermal: gpu"))
    result = run("profile")
    assert result.exit_code == 1
    assert "not measured: disturbed by thermal: gpu" in result.stderr


def test_ctrl_c_tells_the_daemon(double: ApiDouble, run: Run, clock: FakeClock) -> None:
    double.set("POST", "profile", Answer(d.to_json(RUNNING), 202))
    double.set("POST", "profile/stop", Answer(d.to_json(RUNNING)))

    def interrupt() -> None:
        raise KeyboardInterrupt

    clock.on_sleep = interrupt
    assert run("profile").exit_code == 130
    assert double.asked("profile/stop").method == "POST"


def test_without_a_run_there_is_nothing_to_profile(double: ApiDouble, run: Run) -> None:
    double.set("GET", "status", Answer({"run": None}))
    result = run("profile")
    assert result.exit_code == 1
    assert "no run is active" in result.stderr
