"""Power meters: real counters in files, and an estimate that says that it is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.home.clock import FakeClock
from orchestrator.home.meter import EstimatedMeter, FakeMeter, RaplMeter, best_meter


def rapl(folder: Path, microjoules: int) -> Path:
    counter = folder / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    return counter


def test_watts_are_joules_over_seconds(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = RaplMeter(clock, rapl(tmp_path, 5_000_000))
    clock.advance(10)
    rapl(tmp_path, 455_000_000)
    power = meter.read()
    assert power.watts == pytest.approx(45.0)
    assert power.measured


def test_a_counter_that_wraps_is_read_right(tmp_path: Path) -> None:
    clock = FakeClock()
    meter = RaplMeter(clock, rapl(tmp_path, 999_000_000))
    clock.advance(1)
    rapl(tmp_path, 49_000_000)
    assert meter.read().watts == pytest.approx(50.0, rel=1e-6)


def test_a_counter_that_vanishes_is_unknown_not_zero(tmp_path: Path) -> None:
    clock = FakeClock()
    counter = rapl(tmp_path, 0)
    meter = RaplMeter(clock, counter)
    counter.unlink()
    clock.advance(1)
    assert meter.read().watts is None


def test_two_readings_at_the_same_moment_are_unknown(tmp_path: Path) -> None:
    meter = RaplMeter(FakeClock(), rapl(tmp_path, 7))
    assert meter.read().watts is None


def test_an_estimate_lies_between_idle_and_busy_and_is_marked() -> None:
    power = EstimatedMeter(10.0, 60.0).read()
    assert power.watts is not None
    assert 10.0 <= power.watts <= 60.0
    assert not power.measured
    assert power.source == "estimated"


def test_every_machine_has_some_meter() -> None:
    meter = best_meter(FakeClock(), 10.0, 60.0)
    assert meter.read().source in ("nvml", "rapl", "estimated")
    assert FakeMeter(12.0).read().watts == 12.0
