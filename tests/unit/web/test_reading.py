"""GET: what can be read, and what a wrong question is told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.domain import to_json
from orchestrator.version import VERSION

from .conftest import Eventually, Serve, Site


def get(site: Site, path: str) -> Any:
    answer = site.client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def problem(answer: httpx.Response) -> dict[str, str]:
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"kind", "message", "fix"}
    return error


def test_status_is_the_whole_snapshot(site: Site) -> None:
    assert get(site, "status") == to_json(site.backend.snapshot())


def test_loss_that_is_not_a_number_is_still_json(serve: Serve) -> None:
    site = serve()
    site.backend.show(loss=float("nan"))
    assert get(site, "status")["run"]["loss"] is None


def test_runs_are_listed_and_one_is_told_with_its_attempts(site: Site) -> None:
    assert [run["name"] for run in get(site, "runs")] == ["evening", "winter", "first"]
    run = get(site, "runs/evening")
    assert run["state"] == "active"
    assert [attempt["number"] for attempt in run["attempts"]] == [3]


@pytest.mark.parametrize(
    "path", ["runs/evenin", "runs/evenin/samples", "checkpoints?run=evenin", "journal?run=evenin",
             "logs?run=evenin", "logs/stream?run=evenin", "stream?run=evenin"],
)  # fmt: skip
def test_unknown_run_is_not_found_and_the_nearest_is_named(site: Site, path: str) -> None:
    answer = site.client.get(f"/api/v1/{path}")
    assert answer.status_code == 404
    assert problem(answer)["kind"] == "not_found"
    assert "did you mean 'evening'?" in problem(answer)["fix"]


def test_samples_are_thinned_to_the_limit(site: Site) -> None:
    samples = get(site, "runs/evening/samples?limit=50")
    assert 10 <= len(samples) <= 50
    steps = [sample["step"] for sample in samples]
    assert steps == sorted(steps)


def test_checkpoints_are_listed_by_run_in_both_ways(site: Site) -> None:
    mine = get(site, "runs/evening/checkpoints")
    assert mine[0]["step"] == 210
    assert get(site, "checkpoints?run=evening") == get(site, "checkpoints") == mine
    assert get(site, "runs/winter/checkpoints") == []


def test_journal_goes_on_after_an_entry(serve: Serve) -> None:
    site = serve()
    entries = get(site, "journal")
    assert [entry["id"] for entry in entries][:2] == [1, 2]
    assert get(site, f"journal?after={entries[0]['id']}&limit=1") == [entries[1]]
    assert get(site, f"journal?after={2**62}") == []
    assert {entry["run"] for entry in get(site, "journal?run=evening")} == {"evening"}


def test_log_is_told_with_its_file_even_before_it_exists(serve: Serve) -> None:
    site = serve()
    assert get(site, "logs") == {"file": str(site.backend.log_file(None)), "lines": []}
    site.backend.log_file(None).write_text("one\ntwo\nthree\n")
    assert get(site, "logs?lines=2&run=evening")["lines"] == ["two", "three"]


def test_config_shows_no_secret(site: Site) -> None:
    assert get(site, "config")["web"]["token_file"] == "***"


def test_version_is_told(site: Site) -> None:
    assert get(site, "version")["version"] == VERSION


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("status?x=1", "parameter 'x': nothing is expected here"),
        ("journal?limit=0", "limit: must be at least 1"),
        ("journal?limit=10001", "limit: must be at most 10000"),
        ("journal?limit=ten", "limit: must be a whole number, not 'ten'"),
        ("journal?limit=-1", "limit: must be a whole number"),
        ("journal?limit=%D9%A1", "limit: must be a whole number"),
        ("journal?limit=" + "9" * 5000, "limit: must be a whole number"),
        ("journal?after=1.5", "after: must be a whole number"),
        ("journal?aftr=1", "parameter 'aftr': unknown key; did you mean 'after'?"),
        ("journal?after=1&after=2", "after: given twice"),
        ("journal?run=", "run: must not be empty"),
        ("journal?run=%00", "run: must be one line without control characters"),
        ("journal?run=" + "x" * 501, "run: at most 500 characters"),
        ("runs/evening/samples?limit=", "limit: must be a whole number"),
        ("logs?lines=0", "lines: must be at least 1"),
        ("checkpoints?name=x", "parameter 'name'"),
    ],
)
def test_wrong_question_is_told_what_is_wrong(site: Site, path: str, complaint: str) -> None:
    answer = site.client.get(f"/api/v1/{path}")
    assert answer.status_code == 400
    assert problem(answer)["kind"] == "invalid"
    assert complaint in problem(answer)["message"]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1", "/nothing", "/api/v1/runs/a/b/c"])
def test_unknown_path_is_a_problem_in_json(site: Site, path: str) -> None:
    answer = site.client.get(path, follow_redirects=True)
    assert answer.status_code == 404
    assert problem(answer)["kind"] == "http"


def test_wrong_method_is_a_problem_in_json(site: Site) -> None:
    headers = {"content-type": "application/json"}
    answer = site.client.request("DELETE", "/api/v1/runs/evening", headers=headers)
    assert answer.status_code == 405
    assert problem(answer)["kind"] == "http"
    assert site.client.get("/api/v1/pause").status_code == 405


def test_daemon_that_fails_to_answer_says_so_and_lives_on(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    site = serve()

    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(site.backend, "runs", broken)
    answer = site.client.get("/api/v1/runs")
    assert answer.status_code == 500
    assert problem(answer)["message"] == "the daemon failed to answer: RuntimeError"
    assert "secret detail" not in answer.text
    eventually(lambda: "secret detail" in caplog.text)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert site.client.get("/healthz").text == "ok\n"


def test_prices_are_told_slot_by_slot(site: Site) -> None:
    answer = get(site, "prices?hours=3")
    assert answer["unit"] == "EUR/kWh"
    assert [slot["price"] for slot in answer["slots"]] == [0.31] * 3
    assert {slot["source"] for slot in answer["slots"]} == {"fixed"}
    assert len(get(site, "prices")["slots"]) == 48
    assert answer["source"]["configured"] is True
    wrong = site.client.get("/api/v1/prices?hours=337")
    assert wrong.status_code == 400
    assert "hours: must be at most 336" in problem(wrong)["message"]


def test_energy_is_told_by_day_week_or_run(site: Site) -> None:
    by_run = get(site, "energy?by=run")
    assert [line["label"] for line in by_run["lines"]] == ["first", "evening"]
    assert by_run["lines"][0]["costs"] == [{"currency": "EUR", "amount": 0.031}]
    assert get(site, "energy")["by"] == "day"
    wrong = site.client.get("/api/v1/energy?by=month")
    assert wrong.status_code == 400
    assert "by: must be one of day, week, run" in problem(wrong)["message"]
