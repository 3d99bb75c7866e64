"""News reach the phone once, in one message, and wait when nobody takes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.courier import Courier, report_of
from orchestrator.domain import JournalEntry
from orchestrator.home.clock import FakeClock
from orchestrator.home.messenger import AppriseMessenger, FakeMessenger, MessengerError
from orchestrator.notices import Budget, Notice, merged, notice_of
from orchestrator.store import Store
from orchestrator.web.fake import FakeBackend


class Office:
    """A journal, a messenger that is told how often to fail, and a clock by hand."""

    def __init__(self, folder: Path, fails: int = 0, most_per_hour: int = 6) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.messenger = FakeMessenger(fails)
        self.most_per_hour = most_per_hour
        self.open()

    def open(self) -> None:
        self.store = Store.open(f"sqlite:///{self.folder / 'homerun.sqlite'}")
        self.courier = Courier(self.store, self.clock, self.messenger, Budget(self.most_per_hour))
        self.courier.begin()

    def write(self, kind: str, message: str, severity: str = "info") -> None:
        with self.store.transaction() as tx:
            tx.journal.write(kind, message, self.clock.now(), severity=severity, run=None)

    def bodies(self) -> list[str]:
        return [notice.body for notice in self.messenger.sent]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.store.close()


def test_what_happened_before_is_no_news_and_everyday_life_neither(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'homerun.sqlite'}")
    clock = FakeClock()
    with store.transaction() as tx:
        tx.journal.write("outage", "long ago", clock.now(), severity="warning")
    store.close()
    office = Office(tmp_path)
    office.write("checkpoint_saved", "Saved.")
    office.write("hold_started", "Held by user: gaming.")
    office.courier.deliver()
    assert office.messenger.sent == []
    office.store.close()


def test_news_come_once_and_together(office: Office) -> None:
    office.write("outage", "Nothing ran for 300 s.", "warning")
    office.write("hold_started", "Held by crash_loop: 5 attempts failed.", "error")
    office.courier.deliver()
    office.courier.deliver()
    (notice,) = office.messenger.sent
    assert notice.title == "homerun needs you (+1)"
    assert notice.body == "Nothing ran for 300 s.\nHeld by crash_loop: 5 attempts failed."
    assert notice.severity == "error"


def test_a_message_that_nobody_takes_is_sent_later_even_by_the_next_daemon(tmp_path: Path) -> None:
    office = Office(tmp_path, fails=2)
    office.write("run_finished", "month is finished.")
    office.courier.deliver()
    office.courier.deliver()
    assert office.courier.totals == {"sent": 0, "failed": 1}
    office.clock.advance(30.0)
    office.courier.deliver()
    office.store.close()
    office.open()
    office.courier.deliver()
    assert office.bodies() == ["month is finished."]
    office.store.close()


def test_a_night_of_crashes_rings_six_times_an_hour_and_loses_no_word(tmp_path: Path) -> None:
    office = Office(tmp_path, most_per_hour=2)
    for number in range(5):
        office.write("attempt_ended", f"crash {number}", "error")
        office.courier.deliver()
    assert office.bodies() == ["crash 0", "crash 1"]
    office.clock.advance(3601.0)
    office.courier.deliver()
    assert office.bodies()[2:] == ["crash 2\ncrash 3\ncrash 4"]
    office.store.close()


def test_a_flood_is_cut_to_its_newest_lines() -> None:
    notice = merged([Notice("t", f"line {number}") for number in range(100)])
    assert notice.body.startswith("(88 earlier ones: homerun events)\nline 88\n")
    assert notice.title == "t (+99)"


def test_an_error_is_always_news_and_a_pause_never(office: Office) -> None:
    entry = JournalEntry(1, office.clock.now(), "anything", "text", "error", "month")
    assert notice_of(entry) == Notice("month needs you", "text", "error")
    assert notice_of(replace(entry, severity="info")) is None


def test_the_daily_report_begins_with_the_sentence_of_the_page() -> None:
    snapshot = FakeBackend(FakeClock()).snapshot()
    report = report_of(snapshot)
    assert report.body.startswith(snapshot.headline)
    assert "kWh so far" in report.body
    assert "%" in report.title


# --- the real messenger ---------------------------------------------------------------------


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A local service that takes apprise's JSON messages."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its own name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_apprise_delivers_to_every_address(tmp_path: Path) -> None:
    with receiver() as (port, taken):
        urls = tmp_path / "urls"
        urls.write_text(
            f"# my phone\njson://me:secret@127.0.0.1:{port}/\n\njson://127.0.0.1:{port}\n"
        )
        AppriseMessenger(urls).send(Notice("month is finished", "At step 100.", "info"))
    assert [(item["title"], item["message"], item["type"]) for item in taken] == [
        ("month is finished", "At step 100.", "info")
    ] * 2


def test_a_service_that_refuses_is_an_error_without_the_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(status=500) as (port, _):
        urls = tmp_path / "urls"
        urls.write_text(f"json://me:secret@127.0.0.1:{port}/\n")
        with pytest.raises(MessengerError) as caught:
            AppriseMessenger(urls).send(Notice("t", "b", "error"))
    assert "secret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), ("# nothing\n", "no address"), ("ntfy//x\n", ":1 is no address")],
)
def test_an_urls_file_that_is_wrong_is_named(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    urls = tmp_path / "urls"
    if content is not None:
        urls.write_text(content)
    with pytest.raises(MessengerError, match=problem):
        AppriseMessenger(urls).send(Notice("t", "b"))
