"""What the page asks beside the snapshot: the house, its last day, validations, the queue."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain import to_json
from orchestrator.home.clock import FakeClock
from orchestrator.surroundings import GpuView, Surroundings
from orchestrator.web.fake import FakeBackend
from orchestrator.web.trail import FIRST_SECONDS, MOST_POINTS, MOST_SECONDS, Trail

from .conftest import Serve, Site


def get(site: Site, path: str) -> Any:
    answer = site.client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_surroundings_are_told_as_they_are(site: Site) -> None:
    assert get(site, "surroundings") == to_json(site.backend.surroundings())


def test_every_validation_is_told_though_samples_are_thinned(site: Site) -> None:
    scores = get(site, "runs/evening/scores")
    assert [score["step"] for score in scores] == [250]
    assert scores[0]["bits_per_byte"] == site.backend.scores("evening")[250]
    assert get(site, "runs/winter/scores") == []


def test_retention_tells_what_is_pinned_whatever_else_keeps_it(serve: Serve) -> None:
    site = serve()
    (only,) = get(site, "checkpoints/retention?run=evening")
    assert (only["keep"], only["pinned"]) == (True, False)
    site.client.post("/api/v1/checkpoints/pin", json={"run": "evening", "name": only["name"]})
    (only,) = get(site, "checkpoints/retention?run=evening")
    assert (only["why"], only["pinned"]) == ("one of the 2 newest", True)


def test_waiting_run_gets_another_priority(serve: Serve) -> None:
    site = serve()
    answer = site.client.post("/api/v1/runs/winter/priority", json={"priority": 7})
    assert answer.json()["priority"] == 7
    assert [(item.name, item.priority) for item in site.backend.snapshot().queue] == [("winter", 7)]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("winter", {}, 400, "priority: missing"),
        ("winter", {"priority": "high"}, 400, "must be a whole number"),
        ("winter", {"priority": 1_000_001}, 400, "at most 1000000"),
        ("winter", {"priority": 1, "run": "x"}, 400, "run"),
        ("evening", {"priority": 1}, 409, "does not wait: it is active"),
        ("first", {"priority": 1}, 409, "does not wait: it is finished"),
        ("wintr", {"priority": 1}, 404, "wintr"),
    ],
)
def test_wrong_priority_is_told_what_is_wrong(
    site: Site, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    answer = site.client.post(f"/api/v1/runs/{path}/priority", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


# --- the trail ------------------------------------------------------------------------------


def test_trail_is_served_from_the_first_look_on(site: Site) -> None:
    points = get(site, "trail")
    assert points
    first = points[0]
    assert (first["watts"], first["celsius"], first["limit_watts"]) == (118.0, 61.0, 200.0)


def test_trail_keeps_a_day_and_its_size(clock: FakeClock, backend: FakeBackend) -> None:
    trail = Trail(backend, clock)
    for _ in range(30 * MOST_POINTS):
        trail.look()
        clock.advance(FIRST_SECONDS)
    points = trail.points()
    assert MOST_POINTS // 2 <= len(points) <= MOST_POINTS
    gaps = {b.time - a.time for a, b in itertools.pairwise(points)}
    assert max(gaps) <= timedelta(seconds=2 * MOST_SECONDS)
    assert clock.now() - points[0].time > timedelta(hours=23)


def test_trail_says_unknown_when_the_card_is_lost_and_starts_anew_when_the_clock_falls_back(
    clock: FakeClock, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = Trail(backend, clock)
    lost = Surroundings(gpu=GpuView(None, None))
    monkeypatch.setattr(backend, "surroundings", lambda: lost)
    trail.look()
    (point,) = trail.points()
    # the run's own figure is still known
    assert (point.watts, point.celsius, point.limit_watts) == (118.0, None, None)
    backend.empty()
    clock.advance(FIRST_SECONDS)
    trail.look()
    assert trail.points()[-1].watts is None
    clock.jump(-3600.0)
    trail.look()
    assert len(trail.points()) == 1
