"""Simulated months, short ones: the real supervisor in a simulated house."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import Invalid
from orchestrator.simulation import events, picture
from orchestrator.simulation.answer import Answer, simulate
from orchestrator.simulation.market import Adders, FilePrices, FixedPrices
from orchestrator.simulation.wish import Wish, parse_adders, parse_start
from orchestrator.tariff import csv_file
from orchestrator.tariff.slots import PriceSlot, Source
from tests.unit.simulation.conftest import WriteFile

START = datetime(2026, 1, 29, 23, tzinfo=UTC)
WISH = Wish(work_hours=48.0, slack=0.5)


def live(file: Path, wish: Wish = WISH, start: datetime = START) -> Answer:
    return simulate(wish, FilePrices(csv_file.read(file), Adders(Decimal("0.1"))), start)


@pytest.fixture(scope="module")
def answer(write_prices: WriteFile) -> Answer:
    return live(write_prices())


def test_it_is_done_in_time_and_cheaper_than_simple_rules_but_not_than_foresight(
    answer: Answer,
) -> None:
    assert answer.deadline_met
    assert answer.static_cap is not None
    assert answer.foresight.cost <= answer.diary.cost * 1.001
    assert answer.diary.cost < answer.static_cap.cost < answer.always_on.cost
    assert answer.diary.work_done_hours == pytest.approx(48.0)
    assert answer.foresight.gap is not None
    assert answer.foresight.gap < 5e-3


def test_the_account_is_the_integral_of_power_and_price(answer: Answer) -> None:
    stretches = answer.diary.stretches
    assert all(a.end == b.start for a, b in itertools.pairwise(stretches))
    assert stretches[0].start == answer.start
    assert stretches[-1].end == answer.diary.finish
    energy = sum(s.wall_watts * (s.end - s.start).total_seconds() for s in stretches) / 3.6e6
    plain = answer.to_json()
    assert plain["energy_kwh"] == pytest.approx(energy, abs=1e-6)
    assert plain["cost"] == pytest.approx(
        sum(s.wall_watts * (s.end - s.start).total_seconds() * s.price for s in stretches) / 3.6e6,
        abs=1e-6,
    )


def test_the_json_has_what_was_promised_and_the_same_seed_gives_the_same_bytes(
    write_prices: WriteFile,
) -> None:
    wish = replace(WISH, outages="8", games="5", seed=3)
    file = write_prices()
    first, second = (json.dumps(live(file, wish).to_json()) for _ in range(2))
    assert first == second
    assert json.dumps(live(file, replace(wish, seed=4)).to_json()) != first
    assert set(json.loads(first)) >= {
        "cost", "always_on_cost", "static_cap_cost", "foresight_cost", "saved_ratio",
        "deadline_met", "finish", "gap_ratio", "starts", "energy_kwh", "work_lost_seconds",
        "hold_hours",
    }  # fmt: skip


def test_a_power_cut_loses_the_work_since_the_last_checkpoint_and_no_more(
    write_prices: WriteFile, answer: Answer
) -> None:
    # one hour, in the middle of the night, when it certainly runs
    wish = replace(WISH, outages="2026-01-31T03:10:00+00:00/1h")
    cut = live(write_prices(), wish)
    assert cut.diary.outages == 1
    assert cut.deadline_met
    lost = cut.diary.work_lost_seconds - answer.diary.work_lost_seconds
    assert 60 < lost <= wish.save_every_seconds + 2 * wish.step_seconds
    assert cut.diary.hold_hours["outage"] == pytest.approx(1.0)
    dark = [s for s in cut.diary.stretches if s.doing == "outage"]
    assert sum(s.kilowatt_hours for s in dark) == 0.0


def test_a_game_holds_the_run_and_it_goes_on_afterwards(write_prices: WriteFile) -> None:
    wish = replace(WISH, games="2026-01-31T02:00:00+00:00/90m")
    answer = live(write_prices(), wish)
    assert answer.deadline_met
    # and two minutes in which it might come back
    assert answer.diary.hold_hours["gpu_busy"] == pytest.approx(1.5 + 120 / 3600, abs=0.01)
    begin = datetime(2026, 1, 31, 2, tzinfo=UTC)
    playing = [
        s for s in answer.diary.stretches if begin <= s.start < begin + timedelta(minutes=90)
    ]
    assert {s.doing for s in playing} == {"off"}


def test_without_the_right_to_limit_it_runs_full_or_not_at_all(write_prices: WriteFile) -> None:
    answer = live(write_prices(), replace(WISH, may_limit=False))
    assert answer.deadline_met
    assert {s.limit_watts for s in answer.diary.stretches if s.doing == "train"} == {200.0}
    assert answer.diary.cost < answer.always_on.cost


def test_it_knows_nothing_that_was_not_published_yet(
    write_prices: WriteFile, answer: Answer
) -> None:
    """Two futures that differ only from February on are lived alike until that is published."""
    changed_from = (datetime(2026, 2, 1, tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC)).days * 24

    def dearer(hour: int, value: float) -> float:
        return value * 3 if hour >= changed_from - 1 else value

    theirs = live(write_prices(dearer, "other.csv"))
    published = datetime(2026, 1, 31, 12, tzinfo=UTC)

    def before(answer: Answer) -> list[tuple[Any, ...]]:
        return [(s.start, s.doing, s.limit_watts) for s in answer.diary.stretches
                if s.end <= published]  # fmt: skip

    assert before(answer) == before(theirs)
    assert answer.diary.stretches != theirs.diary.stretches


def test_a_hole_in_the_prices_is_no_free_electricity(write_prices: WriteFile) -> None:
    hole = range(24 * 31, 24 * 31 + 6)
    answer = live(write_prices(lambda hour, value: None if hour in hole else value))
    assert answer.to_json()["missing_price_hours"] == 6.0
    assert answer.deadline_met
    assert all(s.price > 0.05 for s in answer.diary.stretches)


def test_negative_prices_are_used_and_paid_out(write_prices: WriteFile) -> None:
    answer = live(write_prices(lambda hour, value: -400.0 if 2 <= hour % 24 < 6 else value))
    assert answer.deadline_met
    paid = [s for s in answer.diary.stretches if s.price < 0.0]
    assert {(s.doing, s.limit_watts) for s in paid if s.doing != "load"} == {("train", 200.0)}


def test_without_slack_there_is_nothing_to_save_and_it_is_in_time(
    write_prices: WriteFile,
) -> None:
    answer = live(write_prices(), replace(WISH, slack=0.0))
    assert answer.deadline_met
    assert answer.saved_ratio == pytest.approx(0.0, abs=0.001)
    assert "next to nothing to save" in "\n".join(picture.lines(answer, UTC))


def test_days_that_are_too_few_leave_it_unfinished_and_say_so(write_prices: WriteFile) -> None:
    answer = live(write_prices(), replace(WISH, days=1.0))
    plain = answer.to_json()
    assert (plain["finish"], plain["deadline_met"], plain["saved_ratio"]) == (None, False, None)
    assert "Not finished" in "\n".join(picture.lines(answer, UTC))


def test_a_fixed_price_is_known_for_ever_and_only_the_level_saves() -> None:
    def flat(start: datetime, end: datetime) -> list[PriceSlot]:
        hour = timedelta(hours=1)
        count = int((end - start) / hour) + 1
        slots = (
            PriceSlot(start + hour * n, start + hour * (n + 1), Decimal("0.3"), Source.FIXED)
            for n in range(count)
        )
        return list(slots)

    prices = FixedPrices("EUR", UTC, flat, datetime(9999, 1, 1, tzinfo=UTC))
    answer = simulate(WISH, prices, START)
    assert answer.deadline_met
    assert answer.static_cap is not None
    assert answer.diary.cost == pytest.approx(answer.static_cap.cost, rel=0.02)


def test_the_picture_has_a_line_for_every_day(answer: Answer) -> None:
    text = picture.lines(answer, UTC)
    days = {s.start.date() for s in answer.diary.stretches}
    assert sum(line.split()[:1] != [] and line[:3] in _WEEKDAYS for line in text) == len(days)
    assert any("perfect foresight" in line for line in text)


_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


# --- what is asked for ----------------------------------------------------------------------


def test_events_come_from_the_seed_alone() -> None:
    end = START + timedelta(days=60)
    first = events.outages("4", START, end, UTC, 1)
    assert first == events.outages("4", START, end, UTC, 1)
    assert first != events.outages("4", START, end, UTC, 2)
    assert 2 <= len(first) <= 20
    evenings = events.games("3", START, end, UTC, 1)
    assert all(18 <= game.start.hour <= 21 for game in evenings)
    assert events.games("0", START, end, UTC, 1) == []


def test_listed_events_are_taken_as_they_are_and_overlaps_become_one() -> None:
    spans = events.outages("2026-01-03T10:00/2h, 2026-01-03T11:00/3h", START, START, UTC, 0)
    assert [(s.start.hour, s.end.hour) for s in spans] == [(10, 14)]


@pytest.mark.parametrize("text", ["soon", "2026-01-03T10:00", "2026-01-03T10:00/0h", "-1", "1e9"])
def test_events_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        events.outages(text, START, START, UTC, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"work_hours": 0.0}, {"slack": -0.1}, {"days": 0.0}, {"work_hours": float("nan")}],
)
def test_a_wish_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Invalid):
        Wish(**wrong)  # type: ignore[arg-type] # numbers only


def test_adders_are_fees_and_taxes_in_any_order() -> None:
    adders = parse_adders(("21%", "0.1,0.02"))
    assert adders.of(Decimal("0.08")) == Decimal("0.2420")
    assert parse_adders(()).of(Decimal("0.08")) == Decimal("0.08")
    for wrong in ("ten", "5 %%", "nan", "1e9"):
        with pytest.raises(Invalid):
            parse_adders((wrong,))


def test_a_start_is_local_and_must_lie_within_the_file(write_prices: WriteFile) -> None:
    prices = FilePrices(csv_file.read(write_prices()), Adders())
    assert parse_start("2026-01-15", prices.zone) == datetime(2026, 1, 14, 23, tzinfo=UTC)
    with pytest.raises(Invalid):
        parse_start("yesterday", prices.zone)
    with pytest.raises(Invalid, match="no prices at"):
        simulate(WISH, prices, datetime(2025, 1, 1, tzinfo=UTC))
