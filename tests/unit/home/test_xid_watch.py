"""What Xid events do: the card is lost, or they are only told, counted and remembered."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.holds.senses import Moment
from orchestrator.home.clock import FakeClock
from orchestrator.home.simulated_gpu import SimulatedGpu
from orchestrator.home.xid import FakeXids, XidEvent
from orchestrator.power import xid_table
from orchestrator.power.gpu_loss import GpuLoss, LossPolicy
from orchestrator.power.xid_watch import XidNews, XidWatch


class Kernel(FakeXids):
    """A second source."""

    name = "kernel log"


class Bench:
    """A simulated card whose driver is listened to."""

    def __init__(self, mark: Path) -> None:
        self.clock = FakeClock(datetime.now(UTC))  # noqa: TID251 - the mark's file has a real time
        self.gpu = SimulatedGpu(self.clock)
        self.kernel = Kernel()
        self.told: list[XidNews] = []
        sources = (self.gpu.xids, self.kernel)
        self.watch = XidWatch(sources, self.clock, self.told.append)
        self.loss = GpuLoss(self.gpu, mark, self.clock, xids=self.watch)

    def throw(self, number: int, text: str = "") -> None:
        self.gpu.xids.throw(number, text)
        self.listen()

    def listen(self) -> None:
        for source in (self.gpu.xids, self.kernel):
            self.watch.listen(source, 0.0)

    def look(self) -> list[tuple[Reason, str]]:
        holds = self.loss.look(Moment(self.clock.now(), self.clock.monotonic(), "month"))
        assert all(hold.effect is Effect.RELEASE for hold in holds)
        return [(hold.reason, hold.detail) for hold in holds]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "gpu-lost")


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [46, 48, 62, 64, 79, 95, 119, 120])
def test_after_these_the_card_is_gone_or_must_be_reset(number: int) -> None:
    assert xid_table.loses_the_card(XidEvent(number))


@pytest.mark.parametrize("number", [13, 31, 43, 45, 63, 74, 92, 94, 109, 0, 9999])
def test_these_are_an_applications_or_nobodys_and_hold_nothing(number: int) -> None:
    assert not xid_table.loses_the_card(XidEvent(number))


def test_every_number_means_one_thing() -> None:
    assert not xid_table.CARD.keys() & xid_table.TOLD.keys()


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", True),
        ("GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", True),
        ("GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)", False),
        ("GPU recovery action changed from 0x1 (None) to 0x0 (None)", False),
        ("", False),
    ],
)
def test_the_summary_asks_for_what_its_text_says(text: str, lost: bool) -> None:
    assert xid_table.loses_the_card(XidEvent(154, text)) is lost


def test_the_cleanup_after_an_application_stands_for_its_end_only_when_alone() -> None:
    assert xid_table.culprit([45, 31, 43]) == 31
    assert xid_table.culprit([45]) == 45
    assert xid_table.culprit([]) is None


# --- the card is lost -------------------------------------------------------------------------


def test_a_card_that_fell_off_the_bus_holds_at_once_though_it_still_seems_to_answer(
    bench: Bench,
) -> None:
    bench.loss.ask()
    assert bench.look() == []
    bench.throw(79, "GPU has fallen off the bus.")
    assert bench.look() == [
        (Reason.GPU_LOST, "the driver reports Xid 79: GPU has fallen off the bus")
    ]
    assert bench.loss.leaves
    (news,) = bench.told
    assert news.severity == "error"
    assert news.message == (
        "The driver reports Xid 79: GPU has fallen off the bus (GPU has fallen off the bus.)."
    )


def test_an_applications_fault_and_an_unknown_number_are_told_and_hold_nothing(
    bench: Bench,
) -> None:
    bench.throw(31)
    bench.throw(777)
    assert bench.look() == []
    assert not bench.loss.leaves
    assert [news.message for news in bench.told] == [
        "The driver reports Xid 31: GPU memory page fault.",
        "The driver reports Xid 777, which homerun does not know.",
    ]
    assert {news.severity for news in bench.told} == {"warning"}


def test_a_second_loss_within_the_hour_waits_for_it_and_then_leaves_again(
    bench: Bench, tmp_path: Path
) -> None:
    bench.throw(119)
    assert bench.look()
    assert bench.loss.leaves
    again = Bench(tmp_path / "gpu-lost")
    again.throw(119)
    assert again.look()
    assert not again.loss.leaves
    again.clock.advance(LossPolicy().again_seconds + 60.0)
    assert again.look(), "only a new process may use the card again"
    assert again.loss.leaves


# --- counted, told and remembered -------------------------------------------------------------


def test_an_event_out_of_both_sources_is_one_and_its_text_still_counts(bench: Bench) -> None:
    bench.gpu.xids.throw(154)
    bench.kernel.throw(
        154, "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"
    )
    bench.listen()
    assert bench.watch.counts() == {154: 1}
    assert len(bench.told) == 1
    assert bench.look()
    bench.clock.advance(60.0)
    bench.kernel.throw(154)
    bench.listen()
    assert bench.watch.counts() == {154: 2}


def test_a_flood_is_counted_and_told_once_a_minute(bench: Bench) -> None:
    for _ in range(1000):
        bench.throw(69)
    bench.throw(13)
    assert bench.watch.counts() == {69: 1000, 13: 1}
    assert [news.event.number for news in bench.told] == [69, 13]
    bench.clock.advance(61.0)
    bench.throw(69)
    assert len(bench.told) == 3


def test_only_what_came_since_then_is_near(bench: Bench) -> None:
    bench.throw(13)
    bench.clock.advance(30.0)
    since = bench.clock.monotonic()
    assert bench.watch.near(since) == ""
    bench.clock.advance(1.0)
    bench.throw(31)
    assert bench.watch.near(since) == "Xid 31: GPU memory page fault"


def test_a_source_that_fails_is_said_once_left_alone_and_asked_again_later(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.gpu.xids.broken = True
    bench.kernel.throw(31)
    bench.listen()
    bench.clock.advance(31.0)
    bench.listen()
    assert caplog.text.count("no Xid events from the simulated: GPU is lost") == 1
    assert bench.watch.counts() == {31: 1}, "the other source goes on"
    bench.gpu.xids.broken = False
    bench.throw(13)
    assert bench.watch.counts() == {31: 1}, "it is left alone for a while"
    bench.clock.advance(31.0)
    bench.listen()
    assert bench.watch.counts() == {31: 1, 13: 1}


def test_where_nobody_tells_nothing_is_counted() -> None:
    assert XidWatch((), FakeClock()).counts() is None


def test_its_threads_hear_what_comes_and_end_with_it() -> None:
    heard = threading.Event()
    source = FakeXids()
    watch = XidWatch((source,), FakeClock(), lambda news: heard.set())
    watch.start()
    source.throw(31)
    assert heard.wait(30.0)
    watch.close()
    assert watch.counts() == {31: 1}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("xid-")]


def test_a_watch_that_never_started_lets_its_sources_go() -> None:
    source = FakeXids()
    XidWatch((source,), FakeClock()).close()
    assert source.read(3600.0) == ()
