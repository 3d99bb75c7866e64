"""The verdict of a soak: a leak is one, warming up and noise are none."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.simulation.market import FixedPrices
from orchestrator.simulation.month import Month
from orchestrator.simulation.wish import Wish
from orchestrator.tariff.slots import PriceSlot, Source
from tests.bench.soak_report import MIB, Look, row, table, theil_sen, verdict


def looks(value: Callable[[float], float], hours: float = 1.0, count: int = 200) -> list[Look]:
    moments = (hours * number / (count - 1) for number in range(count))
    return [Look(at, {"x": value(at)}) for at in moments]


def test_a_leak_of_memory_is_found() -> None:
    found = row("x", looks(lambda at: (90 + 30 * at) * MIB), "memory")
    assert found.verdict == "grows"
    assert found.slope == pytest.approx(30.0)
    assert not found.good


def test_warming_up_and_noise_are_no_leak() -> None:
    rng = random.Random(3)

    def warming(at: float) -> float:
        return (60 + 40 * min(1.0, at * 5) + rng.gauss(0, 1.5)) * MIB

    assert row("x", looks(warming), "memory").verdict == "level"


def test_a_soak_that_is_too_short_says_so() -> None:
    climbing = row("x", looks(lambda at: (90 + 55 * at) * MIB, hours=0.16), "memory")
    assert (climbing.verdict, climbing.good) == ("unsettled", True)
    assert "too short to tell whether it levels off: x" in verdict([climbing])
    leak = row("x", looks(lambda at: (90 + 55 * at) * MIB), "memory")
    assert verdict([climbing, leak]) == "GROWS: x."
    level = row("x", looks(lambda at: 90 * MIB), "memory")
    assert verdict([level]) == "nothing grows without an end."


def test_one_peak_does_not_bend_the_slope() -> None:
    def peak(at: float) -> float:
        return (500 if 0.9 < at < 0.92 else 90) * MIB

    found = row("x", looks(peak), "memory")
    assert found.good
    assert found.slope == 0.0
    assert found.highest == 500.0


def test_a_handle_that_is_lost_now_and_then_is_found() -> None:
    assert row("x", looks(lambda at: 20 + int(at * 10)), "count").verdict == "grows"
    assert row("x", looks(lambda at: 20 + int(at * 100) % 3), "count").verdict == "level"


def test_files_may_grow_with_the_work_and_say_how_fast() -> None:
    found = row("x", looks(lambda at: 50 * at * MIB), "size")
    assert (found.verdict, found.good) == ("by rate", True)
    assert found.slope == pytest.approx(50.0)


def test_a_slope_of_nothing_is_none() -> None:
    assert theil_sen([]) == theil_sen([(1.0, 5.0)]) == 0.0


def test_the_table_has_a_line_for_each_quantity() -> None:
    flat = looks(lambda at: 7.0)
    lines = table([row("x", flat, "count"), row("x", flat, "memory")], "an hour")
    assert lines[2] == "| x | 7 | 7 | 7 | 7 | +0.00 | level |"
    assert len(lines) == 4


def test_a_month_over_a_store_of_ones_own_leaves_it_there(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def prices(begin: datetime, end: datetime) -> list[PriceSlot]:
        return [PriceSlot(begin, end, Decimal("0.3"), Source.FIXED)]

    fixed = FixedPrices("EUR", UTC, prices, datetime(9999, 1, 1, tzinfo=UTC))
    wish = Wish(work_hours=2.0, slack=0.5, days=1)
    truth = fixed.truth(start, start + timedelta(days=2))
    moments: list[datetime] = []
    diary = Month(wish, start, fixed, truth, [], []).run(tmp_path, moments.append)
    assert diary.finish is not None
    assert moments == sorted(moments)
    assert moments[0] == start
    assert (tmp_path / "homerun.sqlite").stat().st_size > 0
