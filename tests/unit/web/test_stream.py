"""Server-sent events: live, replayed, capped, ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.domain import to_json
from orchestrator.home.clock import SystemClock
from orchestrator.web.fake import FakeBackend
from orchestrator.web.stream import Streams, frame

from .conftest import Eventually, Serve, Site

Event = dict[str, str]


@contextmanager
def listening(
    site: Site, path: str = "stream", last: object = None, method: str = "GET"
) -> Iterator[tuple[httpx.Response, Iterator[Event]]]:
    headers = {} if last is None else {"last-event-id": str(last)}
    with site.client.stream(method, f"/api/v1/{path}", headers=headers) as answer:
        yield answer, events(answer.iter_lines())


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Events and, as events without a name, comments."""
    event: Event = {}
    for line in lines:
        if line.startswith(":"):
            yield {"comment": line[1:].strip()}
        elif line:
            name, _, value = line.partition(":")
            event[name] = value.removeprefix(" ")
        elif event:
            yield event
            event = {}


def next_of(stream: Iterator[Event], kind: str) -> Event:
    return next(event for event in stream if event.get("event") == kind)


def data(event: Event) -> Any:
    return json.loads(event["data"])


def test_first_event_is_the_snapshot_of_now(site: Site) -> None:
    with listening(site) as (answer, stream):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-store"
        assert next(stream) == {"retry": "2000"}
        first = next(stream)
        assert first["event"] == "status"
        assert "id" not in first
        assert data(first) == to_json(site.backend.snapshot())


def test_change_comes_as_a_new_snapshot_and_a_journal_entry(serve: Serve) -> None:
    site = serve()
    with listening(site) as (_, stream):
        next_of(stream, "status")
        site.backend.pause(run=None, until=None, release=False, detail="film", source="test")
        status = data(next_of(stream, "status"))
        assert status["holds"][0]["detail"] == "film"
        entry = next_of(stream, "journal")
        assert data(entry)["message"] == "Held by user: film."
        assert entry["id"] == str(data(entry)["id"])


def test_reader_that_comes_back_gets_every_entry_that_it_missed(serve: Serve) -> None:
    site = serve()
    seen = site.backend.write("note", "seen").id
    # More than a snapshot carries, and more than one page.
    missed = [site.backend.write("note", f"missed {number}").id for number in range(1200)]
    with listening(site, last=seen) as (_, stream):
        got = [data(next_of(stream, "journal")) for _ in missed]
    assert [entry["id"] for entry in got] == missed
    assert got[-1]["message"] == "missed 1199"


def test_reader_without_a_past_gets_no_old_entries(serve: Serve) -> None:
    site = serve()
    site.backend.write("note", "old")
    with listening(site) as (_, stream):
        next_of(stream, "status")
        site.backend.write("note", "new")
        assert data(next_of(stream, "journal"))["message"] == "new"


def test_id_of_another_store_does_not_silence_the_journal(serve: Serve) -> None:
    site = serve()
    with listening(site, last=10**15) as (_, stream):
        next_of(stream, "status")
        site.backend.write("note", "new")
        assert data(next_of(stream, "journal"))["message"] == "new"


def test_journal_of_one_run_leaves_the_others_out(serve: Serve) -> None:
    site = serve()
    with listening(site, "stream?run=winter") as (_, stream):
        next_of(stream, "status")
        site.backend.write("note", "not mine", run="evening")
        site.backend.write("note", "mine", run="winter")
        assert data(next_of(stream, "journal"))["message"] == "mine"


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "0x10"])
def test_id_that_is_none_is_refused(site: Site, last: str) -> None:
    with listening(site, last=last) as (answer, _):
        assert answer.status_code == 400
        assert "Last-Event-ID" in json.loads(answer.read())["error"]["message"]


def test_silence_is_broken_by_a_heartbeat(serve: Serve, backend: FakeBackend) -> None:
    site = serve(streams=Streams(backend, heartbeat_seconds=0.05))
    with listening(site) as (_, stream):
        assert any(event == {"comment": "heartbeat"} for event in stream)


def test_one_client_too_many_is_told_so_and_a_place_comes_free(
    serve: Serve, backend: FakeBackend, eventually: Eventually
) -> None:
    streams = Streams(backend, max_clients=2, heartbeat_seconds=0.05)
    site = serve(streams=streams)
    with ExitStack() as stack:
        _, stream = stack.enter_context(listening(site, "stream"))
        _, lines = stack.enter_context(listening(site, "logs/stream"))
        assert next(stream) == next(lines) == {"retry": "2000"}
        refused = site.client.get("/api/v1/stream", timeout=5)
        assert refused.status_code == 503
        assert refused.json()["error"]["kind"] == "too_many_clients"
        assert site.client.get("/api/v1/status").status_code == 200
    eventually(lambda: streams.clients == 0)
    with listening(site) as (answer, _):
        assert answer.status_code == 200


def test_head_does_not_open_a_stream(serve: Serve, eventually: Eventually) -> None:
    site = serve()
    assert site.client.head("/api/v1/stream").status_code == 200
    assert site.client.head("/api/v1/logs/stream").status_code == 200
    eventually(lambda: site.streams.clients == 0)


def test_streams_end_when_the_server_stops_and_it_stops_within_a_second(serve: Serve) -> None:
    site = serve()
    clock = SystemClock()
    with listening(site) as (_, stream), listening(site, "logs/stream") as (_, lines):
        next_of(stream, "status")
        next(lines)
        began = clock.monotonic()
        site.server.stop()
        took = clock.monotonic() - began
        assert list(lines) == []
        assert [event for event in stream if event.get("event") != "status"] == []
    assert took < 1.0


def test_slow_reader_misses_snapshots_but_gets_the_newest(serve: Serve) -> None:
    site = serve()
    with listening(site) as (_, stream):
        next_of(stream, "status")
        for step in range(301, 601):
            site.backend.show(step=step)
        steps = [300]
        while steps[-1] < 600:
            steps.append(data(next_of(stream, "status"))["run"]["step"])
    assert len(steps) < 50
    assert steps == sorted(steps)


def test_streams_outlive_a_backend_that_fails_for_a_while(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = serve()
    with listening(site) as (_, stream):
        next_of(stream, "status")
        with monkeypatch.context() as broken:
            broken.setattr(site.backend, "wait_for_change", lambda seen, seconds: 1 / 0)
            site.backend.write("note", "while broken")
        site.backend.write("note", "whole again")
        assert data(next_of(stream, "journal"))["message"] == "while broken"
        assert data(next_of(stream, "journal"))["message"] == "whole again"


def test_frame_stays_one_event_whatever_the_text_holds() -> None:
    text = 'two\nlines\r, "quotes", \u2028 and ö'
    written = frame("journal", {"message": text, "loss": float("inf")}, 7)
    assert written.isascii()
    assert written.split("\n")[2:] != []
    (event,) = events(iter(written.split("\n")))
    assert (event["event"], event["id"]) == ("journal", "7")
    assert data(event) == {"message": text, "loss": None}


# --- log ------------------------------------------------------------------------------------


def test_log_is_followed_from_its_last_lines_on(serve: Serve, log: Path) -> None:
    log.write_text("one\ntwo\nthree\n")
    site = serve()
    with listening(site, "logs/stream?lines=2") as (_, stream):
        assert [next_of(stream, "line")["data"] for _ in range(2)] == ["two", "three"]
        with log.open("a") as file:
            file.write("four\nfi")
            file.flush()
            assert next_of(stream, "line")["data"] == "four"
            file.write("ve\n\nöäü: x\n")
            file.flush()
            assert [next_of(stream, "line")["data"] for _ in range(3)] == ["five", "", "öäü: x"]


def test_log_that_is_not_there_yet_is_waited_for(serve: Serve, log: Path) -> None:
    site = serve()
    with listening(site, "logs/stream") as (_, stream):
        assert next(stream) == {"retry": "2000"}
        log.write_text("at last\n")
        assert next_of(stream, "line")["data"] == "at last"


def test_quiet_log_has_a_heartbeat_too(serve: Serve, backend: FakeBackend) -> None:
    site = serve(streams=Streams(backend, heartbeat_seconds=0.05))
    with listening(site, "logs/stream") as (_, stream):
        assert any(event == {"comment": "heartbeat"} for event in stream)


@pytest.mark.parametrize("query", ["lines=-1", "lines=x", "line=5", "lines=10001"])
def test_log_stream_refuses_wrong_questions(site: Site, query: str) -> None:
    assert site.client.get(f"/api/v1/logs/stream?{query}").status_code == 400
