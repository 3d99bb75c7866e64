"""POST: orders, and what a wrong order is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.clock import FakeClock

from .conftest import Serve, Site

SPEC = {"name": "autumn", "train": {"steps": 10}}


def post(site: Site, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return site.client.post(f"/api/v1/{path}", json={} if body is None else body, headers=headers)


def test_pause_for_a_while_ends_then(site: Site) -> None:
    body = {"seconds": 7200, "detail": "  film evening ", "run": "evening"}
    hold = post(site, "pause", body).json()
    assert hold["effect"] == "pause"
    assert hold["until"] == "2026-12-01T02:00:00Z"
    assert hold["detail"] == "film evening"
    assert hold["run"] == "evening"
    assert site.client.get("/api/v1/status").json()["holds"] == [hold]


def test_pause_until_a_time_in_another_zone_is_kept_in_utc(site: Site) -> None:
    hold = post(site, "pause", {"until": "2026-12-01T18:00:00+01:00"}).json()
    assert hold["until"] == "2026-12-01T17:00:00Z"


def test_pause_with_release_frees_the_memory(site: Site) -> None:
    hold = post(site, "pause", {"release": True}).json()
    assert (hold["effect"], hold["until"], hold["run"]) == ("release", None, None)


def test_order_without_any_body_is_an_empty_order(site: Site) -> None:
    headers = {"content-type": "application/json"}
    assert site.client.post("/api/v1/pause", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("agent", "source"), [("homerun/0.1.0", "cli"), ("curl/8", "api"), ("", "api")]
)
def test_journal_hears_who_asked(site: Site, agent: str, source: str) -> None:
    assert post(site, "pause", {}, **{"user-agent": agent}).json()["source"] == source


def test_resume_lifts_my_hold_and_names_what_still_holds(serve: Serve, clock: FakeClock) -> None:
    site = serve()
    until = clock.now() + timedelta(hours=3)
    tariff = Hold(Reason.TARIFF, Effect.PAUSE, "tariff", clock.now(), until, "0.41 EUR/kWh")
    site.backend.hold(tariff)
    post(site, "pause")
    answer = post(site, "resume").json()
    assert answer["ended"] is True
    assert [hold["reason"] for hold in answer["holds"]] == ["tariff"]


def test_finish_is_a_hold_that_says_so(site: Site) -> None:
    hold = post(site, "finish", {"detail": "going away"}).json()
    assert (hold["effect"], hold["detail"]) == ("finish", "going away")


def test_a_guest_holds_the_card_until_he_leaves(site: Site) -> None:
    hold = post(site, "hold", {"name": "gamemode"}).json()
    assert (hold["reason"], hold["source"]) == ("gpu_busy", "gamemode")
    assert hold["until"] == "2026-12-01T12:00:00Z"
    assert post(site, "unhold", {"name": "gamemode"}).json()["ended"] is True
    assert post(site, "unhold", {"name": "gamemode"}).json()["ended"] is False


def test_a_profile_is_refused_without_a_card_and_for_an_unknown_run(site: Site) -> None:
    assert site.client.get("/api/v1/profile").json()["state"] == "idle"
    refused = post(site, "profile", {"run": "evening"})
    assert refused.status_code == 409
    assert "--power-helper" in refused.json()["error"]["fix"]
    assert post(site, "profile", {"run": "nobody"}).status_code == 404
    assert post(site, "profile/stop").json()["state"] == "idle"


def test_run_is_submitted_refused_twice_and_cancelled(serve: Serve) -> None:
    site = serve()
    created = post(site, "runs", {"spec": SPEC, "priority": 5})
    assert created.status_code == 201
    assert (created.json()["state"], created.json()["priority"]) == ("queued", 5)
    again = post(site, "runs", {"spec": SPEC})
    assert again.status_code == 409
    assert again.json()["error"]["kind"] == "refused"
    assert post(site, "runs/autumn/cancel").json()["state"] == "cancelled"
    assert post(site, "runs/autumn/cancel").status_code == 409
    assert post(site, "runs/nobody/cancel").status_code == 404


def test_wrong_spec_is_told_every_problem(site: Site) -> None:
    answer = post(site, "runs", {"spec": {"name": "No", "trian": {}, "seed": "x"}})
    assert answer.status_code == 422
    assert answer.json()["error"]["kind"] == "misconfigured"
    assert "did you mean 'train'?" in answer.json()["error"]["message"]
    assert "seed: must be a whole number" in answer.json()["error"]["message"]


def test_checkpoint_is_saved_on_request(serve: Serve) -> None:
    site = serve()
    saved = post(site, "checkpoints/save").json()
    assert (saved["step"], saved["reason"]) == (300, "request")
    post(site, "pause", {"release": True})
    held = post(site, "checkpoints/save")
    assert held.status_code == 423
    assert held.json()["error"]["fix"] == "homerun resume"


def test_damaged_checkpoint_is_found_by_verify(serve: Serve) -> None:
    site = serve()
    newest = site.backend.checkpoints(None)[0].name
    assert post(site, "checkpoints/verify").json()[0]["ok"] is True
    site.backend.damaged.add(newest)
    (verdict,) = post(site, "checkpoints/verify", {"run": "evening", "name": newest}).json()
    assert verdict["ok"] is False
    assert verdict["problems"] == ["model: wrong checksum"]
    assert post(site, "checkpoints/verify", {"name": "gen-none"}).status_code == 404


def test_retention_is_told_before_it_is_done_and_spares_what_is_pinned(serve: Serve) -> None:
    site = serve()
    for _ in range(3):
        site.backend.advance(100)
        assert post(site, "checkpoints/save").status_code == 200
    names = [item.name for item in site.backend.checkpoints(None)]
    assert len(names) > 2
    assert post(site, "checkpoints/pin", {"name": names[-1]}).status_code == 200
    plan = post(site, "checkpoints/prune", {"run": "evening", "dry_run": True}).json()
    assert [choice["name"] for choice in plan] == names
    assert (plan[-1]["keep"], plan[-1]["why"]) == (True, "pinned")
    assert len(site.backend.checkpoints(None)) == len(names)
    assert post(site, "checkpoints/unpin", {"name": names[-1]}).status_code == 200
    assert post(site, "checkpoints/prune").status_code == 200
    assert [item.name for item in site.backend.checkpoints(None)] == names[:2]


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("pause", {"seconds": 0}, "seconds: must be above 0"),
        ("pause", {"seconds": -5}, "seconds: must be above 0"),
        ("pause", {"seconds": 1e300}, "seconds: must be above 0 and at most"),
        ("pause", {"seconds": 10**400}, "seconds: must be above 0 and at most"),
        ("pause", {"seconds": "2h"}, "seconds: must be a number, not a text"),
        ("pause", {"seconds": True}, "seconds: must be a number, not true or false"),
        ("pause", {"seconds": 5, "until": "2026-12-02T00:00:00Z"}, "give one of them"),
        ("pause", {"until": "2026-11-30T00:00:00Z"}, "is in the past"),
        ("pause", {"until": "2026-12-02T00:00:00"}, "does not say in which zone"),
        ("pause", {"until": "tomorrow"}, "'tomorrow' is no ISO 8601 time"),
        ("pause", {"until": "0001-01-01T00:00:00+10:00"}, "is no ISO 8601 time"),
        ("pause", {"until": 1796083200}, "until: must be a time as text, not a whole number"),
        ("pause", {"release": "yes"}, "release: must be true or false, not a text"),
        ("pause", {"release": None}, "release: must be true or false, not null"),
        ("pause", {"detail": 5}, "detail: must be a text"),
        ("pause", {"detail": "x" * 501}, "detail: at most 500 characters (has 501)"),
        ("pause", {"detail": "two\nlines"}, "without control characters"),
        ("pause", {"run": ""}, "run: must not be empty"),
        ("pause", {"run": ["evening"]}, "run: must be a text, not a list"),
        ("pause", {"untill": "x"}, "key 'untill': unknown key; did you mean 'until'?"),
        ("hold", {}, "name: missing"),
        ("hold", {"name": 7}, "name: must be a text"),
        ("hold", {"name": "x", "until": "2026-11-30T00:00:00Z"}, "is in the past"),
        ("unhold", {}, "name: missing"),
        ("profile", {}, "run: missing"),
        ("profile/stop", {"run": "evening"}, "nothing is expected here"),
        ("resume", {"all": True}, "key 'all'"),
        ("finish", {"seconds": 5}, "key 'seconds'"),
        ("runs", {}, "spec: missing"),
        ("runs", {"spec": "autumn.toml"}, "spec: must be an object, not a text"),
        ("runs", {"spec": SPEC, "priority": 1.5}, "priority: must be a whole number"),
        ("runs", {"spec": SPEC, "priority": True}, "priority: must be a whole number"),
        ("runs", {"spec": SPEC, "priority": 10**9}, "priority: must be at most 1000000"),
        ("runs/evening/cancel", {"why": "x"}, "key 'why': nothing is expected here"),
        ("checkpoints/save", {"run": "x"}, "nothing is expected here"),
        ("checkpoints/verify", {"name": 5}, "name: must be a text, not a whole number"),
        ("checkpoints/prune", {"dry_run": 1}, "dry_run: must be true or false"),
        ("checkpoints/pin", {}, "name: missing"),
        ("checkpoints/restore", {"run": "evening"}, "url: missing"),
        ("checkpoints/restore", {"url": "/nas"}, "run: missing"),
        ("checkpoints/unpin", {"name": 5}, "name: must be a text"),
        ("pause", [], "the body must be a JSON object, not a list"),
        ("pause", "pause", "the body must be a JSON object, not a text"),
    ],
)
def test_wrong_order_is_told_what_is_wrong(
    site: Site, path: str, body: Any, complaint: str
) -> None:
    answer = post(site, path, body)
    assert answer.status_code == 400, answer.text
    assert complaint in answer.json()["error"]["message"]
    assert site.backend.snapshot().holds == ()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "not JSON"),
        (b"pause", "not JSON"),
        (b'{"seconds": NaN}', "NaN is no number"),
        (b'{"seconds": Infinity}', "Infinity is no number"),
        (b'{"seconds": 1, "seconds": 2}', "a key is given twice"),
        (b'{"detail": "\xff"}', "not JSON"),
        (b'{"detail": "\\ud800"}', "half a surrogate pair"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"null", "must be a JSON object, not null"),
    ],
)
def test_broken_body_is_told_what_is_wrong(site: Site, content: bytes, complaint: str) -> None:
    headers = {"content-type": "application/json"}
    answer = site.client.post("/api/v1/pause", content=content, headers=headers)
    assert answer.status_code == 400, answer.text
    assert complaint in answer.json()["error"]["message"]
    assert site.backend.snapshot().holds == ()
