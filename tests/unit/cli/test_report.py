"""The report: figures, a page, a picture; and what it says where little is known."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator import domain as d
from orchestrator.cli.report import charts, facts
from orchestrator.cli.report.canvas import COLOURS
from tests.unit.cli import api_double as api
from tests.unit.cli import report_data as story
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run


@pytest.fixture(autouse=True)
def _a_story(double: ApiDouble) -> None:
    story.serve(double)


def test_the_figures_are_those_that_a_person_asks_for(run: Run) -> None:
    text = run("report").stdout
    for part in (
        "Paused until 22:00 by the tariff",
        "57.4 %  (41,208 of 71,680 steps)",
        "13 d 2 h",
        "finish        15 Dec 2026  (20:30, in 14 d 9 h)",
        "65.70 kWh  (90 % of it measured)",
        "16.02 EUR",
        "held longest  5 d 8 h  (by tariff)",
        "2  (7 h 30 min in all)",
        "5  (37 steps computed twice)",
    ):
        assert part in text, f"{part!r} is missing in\n{text}"
    assert "heat" not in text, "less than a second is no hold"


class _Page(HTMLParser):
    """Which tags there are, and that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert run("report", "--html", str(file)).exit_code == 0
    text = file.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.seen.count("svg") == 5
    assert page.seen.count("table") == 4
    assert page.addresses == []
    assert "script" not in page.seen
    assert not re.search(r"https?://|url\(|@import", text)
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= set(COLOURS)
    assert len(text) < 200_000
    for part in ("CUDA error", "quiet hours", "Outages", "57.4 %", "Checkpoints"):
        assert part in text


def test_text_from_outside_is_no_markup(run: Run, double: ApiDouble, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&"'
    attempt = {**story.attempts()[2], "cause": evil}
    plain = {**d.to_json(api.RUNS[0]), "steps": 10, "attempts": [attempt]}
    double.set("GET", "runs/first-run", Answer(plain))
    double.set("GET", "status", Answer(d.to_json(api.snapshot(headline=evil))))
    file = tmp_path / "report.html"
    run("report", "--html", str(file))
    text = file.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_picture_shows_every_chart_in_its_colour(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "report.png"
    assert run("report", "--png", str(file)).exit_code == 0
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.width == 2048
        assert 1500 < picture.height < 4000
        counts = picture.convert("RGB").getcolors(maxcolors=1 << 24)
        assert counts is not None
        found = {"#{:02x}{:02x}{:02x}".format(*colour): count for count, colour in counts}  # type: ignore[misc] # an RGB image has tuples
    for name in ("train", "good", "money", "tariff", "quiet_hours", "user", "outage", "ink"):
        assert found.get(COLOURS[name][0], 0) > 50, f"nothing is drawn in {name}"


def test_both_files_and_json_are_written_as_asked(run: Run, tmp_path: Path) -> None:
    page, picture = tmp_path / "a.html", tmp_path / "a.png"
    result = run("report", "first-run", "--html", str(page), "--png", str(picture))
    assert result.exit_code == 0
    assert page.exists()
    assert picture.exists()
    plain = json.loads(run("report", "--json").stdout)
    assert plain["schema"] == 1
    assert plain["report"]["run"]["name"] == "first-run"
    assert len(plain["report"]["points"]) == 600
    assert plain["report"]["currency"] == "EUR"


def test_a_run_of_which_nothing_is_known_yet_has_a_report_too(
    run: Run, double: ApiDouble, tmp_path: Path
) -> None:
    plain = {**d.to_json(api.RUNS[1]), "attempts": []}
    double.set("GET", "runs/second-run", Answer(plain))
    double.set("GET", "runs/second-run/samples", Answer([]))
    double.set("GET", "runs/second-run/checkpoints", Answer([]))
    double.set("GET", "journal", Answer([]))
    double.set("GET", "energy", Answer({**story.energy("day"), "lines": []}))
    result = run(
        "report", "second-run", "--html", str(tmp_path / "a"), "--png", str(tmp_path / "b")
    )
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "a").read_text()
    assert "waits in the queue" in text
    assert "no two points yet" in text
    assert "None" not in text
    assert "nan" not in text


def test_wrong_wishes_have_their_exit_codes(run: Run, double: ApiDouble, tmp_path: Path) -> None:
    assert run("report", "--json", "--png", str(tmp_path / "x.png")).exit_code == 2
    wrong = run("report", "--html", str(tmp_path / "no" / "such" / "folder.html"))
    assert wrong.exit_code == 77
    assert "No such file or directory" in wrong.stderr
    assert run("report", "nobody").exit_code == 1
    double.set("GET", "status", Answer(d.to_json(api.snapshot(run=None))))
    double.set("GET", "runs", Answer([]))
    assert "no run yet" in run("report").stderr


def spans_of(*entries: dict[str, Any], **run: Any) -> list[facts.Span]:
    plain = {**d.to_json(api.RUNS[0]), "created": d.to_json(story.START), "attempts": [], **run}
    return list(facts.spans(plain, entries, api.NOW))


def entry(day: float, kind: str, message: str, run: str | None = None) -> dict[str, Any]:
    time = d.to_json(story.moment(day))
    return {"time": time, "kind": kind, "message": message, "run": run, "data": {}}


def test_holds_begin_and_end_where_the_journal_says() -> None:
    begun = entry(1, "hold_started", "Held by tariff: dear.")
    ended = entry(2, "hold_ended", "The hold 'tariff' ended on time.")
    assert spans_of(begun, ended) == [facts.Span("tariff", story.moment(1), story.moment(2))]
    assert spans_of(ended) == [], "its beginning is not known any more"
    assert spans_of(begun) == [facts.Span("tariff", story.moment(1), api.NOW)]
    finished = spans_of(begun, finished=d.to_json(story.moment(5)))
    assert finished == [facts.Span("tariff", story.moment(1), story.moment(5))]
    assert spans_of(entry(1, "hold_started", "Held by tariff: x", "another")) == []
    early = entry(-3, "hold_started", "Held by user: pause.")
    assert spans_of(early, entry(1, "hold_ended", "The hold 'user' was lifted.")) == [
        facts.Span("user", story.START, story.moment(1))
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 10.0, [0, 2, 4, 6, 8, 10]),
        (2.3, 4.4, [2.5, 3.0, 3.5, 4.0]),
        (0.0, 0.003, [0, 0.001, 0.002, 0.003]),
        (1.0, 41_208.0, [10_000, 20_000, 30_000, 40_000]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert all(math.isclose(a, b, abs_tol=1e-12) for a, b in zip(
        charts.ticks(low, high), expected, strict=True))  # fmt: skip


@pytest.mark.parametrize("hours", [0.02, 1, 5, 30, 100, 700, 5000])
def test_a_time_axis_has_a_few_labels_whatever_it_spans(hours: float) -> None:
    labels = list(charts.time_ticks(api.NOW, api.NOW + timedelta(hours=hours)))
    assert len(labels) <= 8
    assert hours < 1 or labels
