"""How often to save when the spec leaves it open."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.loop import support
from tests.unit.loop.support import HandClock
from tests.unit.loop.test_saving import Wear
from trainer import interval, loop
from trainer.announce import Announcer
from trainer.contract.job import Job
from trainer.contract.messages import Notice, Saved
from trainer.contract.spec import CheckpointSpec
from trainer.interval import Habits
from trainer.interval_telling import IntervalTelling

DAY = 86_400.0


def test_cheap_saves_come_as_often_as_young_and_daly_say() -> None:
    found = interval.best_seconds(3.0, 10**6, Habits(mtbf_seconds=7 * DAY))
    assert found == pytest.approx(math.sqrt(2 * 3.0 * 7 * DAY))
    assert interval.best_seconds(3.0, 10**6, Habits()) == pytest.approx(math.sqrt(6.0 * DAY))


def test_large_ones_as_often_as_the_ssd_allows() -> None:
    """8 GB within 30 TB a month: every 11.5 minutes, 5 % of a 600 TBW disk."""
    found = interval.best_seconds(0.5, 8 * 10**9, Habits(month_bytes=30e12))
    assert found == pytest.approx(691.2)
    assert interval.month_bytes(found, 8 * 10**9) == pytest.approx(30e12)


def test_never_more_often_than_of_use() -> None:
    assert interval.best_seconds(0.0, 0, Habits(month_bytes=1.0)) == interval.SHORTEST_SECONDS


@given(
    st.floats(0.01, 400.0),
    st.floats(0.0, 60.0),
    st.floats(60.0, 1e5),
    st.floats(500.0, 2000.0),
)
def test_no_power_cut_costs_more_than_the_bound(
    step_seconds: float, save_seconds: float, wait_seconds: float, most: float
) -> None:
    """Steps of equal length: whatever the schedule wants, the bound holds."""
    saved_at = now = 0.0
    for _ in range(200):
        now += step_seconds
        worst = now + save_seconds - saved_at
        assert worst <= most or worst <= 2 * (step_seconds + save_seconds)
        if interval.is_due(now - saved_at, wait_seconds, step_seconds, save_seconds, most):
            saved_at = now
            now += save_seconds


def job_of(corpus: Path, run_dir: Path, data_dir: Path, steps: int, **options: float) -> Job:
    spec = support.tiny_spec(corpus, steps=steps, every_seconds=0.0, eval_every_steps=0)
    job = support.job_for(spec, run_dir, data_dir)
    return Job(spec, job.attempt, job.run_dir, job.data_dir, **options)


def test_left_open_it_saves_by_itself_and_within_the_bound(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    clock = HandClock()
    link = Wear(clock, 40.0)
    assert loop.train(job_of(corpus, run_dir, data_dir, 40), link, clock) == 0
    saved = [event.step for event in link.of(Saved)]
    assert saved[0] == 8, "the first one after 300 s"
    assert saved == [*range(8, 40, 2), 40]


def test_a_wish_that_wears_the_ssd_out_is_told_once(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    clock = HandClock()
    link = Wear(clock, 400.0)
    job = job_of(corpus, run_dir, data_dir, 12, month_bytes=1000.0)
    assert loop.train(job, link, clock) == 0
    saved = [event.step for event in link.of(Saved)]
    assert saved == [1, 3, 5, 7, 9, 11, 12]
    (wear,) = [notice for notice in link.of(Notice) if notice.kind == "ssd_wear"]
    assert "ssd_terabytes_per_month" in wear.message


def told_of_saves(link: Wear) -> list[Notice]:
    return [event for event in link.events if isinstance(event, Notice) and event.kind == "saves"]


def test_the_interval_is_told_with_its_reason_once(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    clock = HandClock()
    link = Wear(clock, 40.0)
    assert loop.train(job_of(corpus, run_dir, data_dir, 40), link, clock) == 0
    (told,) = told_of_saves(link)
    assert told.severity == "info"
    assert told.message == (
        "Saves come every 60 s (more often is of no use); a power cut costs at most 100 s of "
        "computing."
    )


def test_a_step_longer_than_what_may_be_lost_is_told_in_seconds(
    corpus: Path, run_dir: Path, data_dir: Path
) -> None:
    clock = HandClock()
    link = Wear(clock, 1240.0)
    assert loop.train(job_of(corpus, run_dir, data_dir, 5), link, clock) == 0
    told = [notice for notice in told_of_saves(link) if notice.severity == "warning"]
    assert len(told) == 1
    assert "can cost 1240 s, more than the 900 s" in told[0].message
    assert "a step takes 1240 s" in told[0].message
    assert [event.step for event in link.of(Saved)] == [1, 2, 3, 4, 5]


def test_an_interval_that_the_spec_asks_for_is_told_where_a_cut_costs_more_than_is_usual() -> None:
    clock, link = HandClock(), Wear(HandClock(), 1.0)
    usual = IntervalTelling(CheckpointSpec(every_seconds=600.0), Announcer(link, clock))
    usual.tell(interval.Choice(60.0, ""), 10.0, 0.5)
    assert told_of_saves(link) == []
    seldom = IntervalTelling(CheckpointSpec(every_seconds=3600.0), Announcer(link, clock))
    for _ in range(3):
        seldom.tell(interval.Choice(60.0, ""), 10.0, 0.5)
    (told,) = told_of_saves(link)
    assert told.message == (
        "Saves come every 3600 s (checkpoint.every_seconds); a power cut costs at most 3610 s of "
        "computing."
    )


@pytest.mark.parametrize(
    ("mtbf", "month_bytes", "step", "expected"),
    [
        (7 * DAY, 0.0, 1.0, "a save costs 0.50 s of training, and failures come every 168.0 h"),
        (0.0, 30e12, 1.0, "the SSD may take 30 TB in 30 days"),
        (0.0, 1e12, 1.0, "a power cut may cost 900 s"),
    ],
)
def test_each_reason_is_named(mtbf: float, month_bytes: float, step: float, expected: str) -> None:
    habits = Habits(900.0, mtbf, month_bytes)
    choice = interval.choose(0.5, 8 * 10**9, habits)
    assert expected in interval.bounded(choice, step, 0.5, 900.0).why


@given(st.floats(0.01, 2000.0), st.floats(0.0, 60.0), st.floats(60.0, 1e5), st.floats(60.0, 2000.0))
def test_what_is_told_as_the_worst_is_never_exceeded(
    step_seconds: float, save_seconds: float, wait_seconds: float, most: float
) -> None:
    """Saves beside the training: the next step begins at once."""
    choice = interval.bounded(interval.Choice(wait_seconds, ""), step_seconds, save_seconds, most)
    worst = interval.worst_seconds(choice.seconds, step_seconds, save_seconds, most)
    age = 0.0
    for _ in range(200):
        age += step_seconds
        if interval.is_due(age, wait_seconds, step_seconds, save_seconds, most):
            assert age + save_seconds <= worst + 1e-6
            age = 0.0
