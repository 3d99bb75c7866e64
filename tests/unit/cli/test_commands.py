"""Every command against the API double: what is sent, what is printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from orchestrator import domain as d
from orchestrator.cli import render
from orchestrator.cli.groups import serve
from orchestrator.home.clock import FakeClock
from tests.unit.cli import api_double as api
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run

# --- holds ----------------------------------------------------------------------------------


def test_pause_for_two_hours_sends_seconds_and_tells_the_end(double: ApiDouble, run: Run) -> None:
    result = run("pause", "--for", "2h", "-m", "gaming")
    assert result.exit_code == 0
    body = double.asked("pause").body
    assert body == {"detail": "gaming", "release": False, "seconds": 7200.0}
    assert result.stdout == "Paused until 13:30 CET (in 2 h); homerun resume ends it sooner.\n"


def test_pause_until_six_means_the_next_six_o_clock_here(
    double: ApiDouble, run: Run, clock: FakeClock
) -> None:
    run("pause", "first-run", "--until", "18:00", "--release")
    body = double.asked("pause").body
    assert body["until"] == "2026-12-01T17:00:00Z"
    assert body["run"] == "first-run"
    assert body["release"] is True
    clock.advance(8 * 3600)
    run("pause", "--until", "18:00")
    assert double.asked("pause").body["until"] == "2026-12-02T17:00:00Z"


def test_a_game_holds_by_its_name_and_leaves_by_it(double: ApiDouble, run: Run) -> None:
    assert run("hold", "gamemode", "--for", "3h").stdout == (
        "Room for gamemode until homerun unhold gamemode, at most until 13:30 CET (in 2 h).\n"
    )
    assert double.asked("hold").body == {"name": "gamemode", "detail": "", "seconds": 10800.0}
    assert run("unhold", "gamemode").stdout == "gamemode holds nothing any more.\n"
    double.set("POST", "unhold", Answer({"schema": 1, "ended": False}))
    assert run("unhold", "gamemode").stdout == "gamemode held nothing.\n"


def test_pause_without_end_says_how_to_go_on(double: ApiDouble, run: Run) -> None:
    open_end = api.hold(until=None, run="first-run", effect=d.Effect.RELEASE)
    double.set("POST", "pause", Answer(d.to_json(open_end)))
    assert run("pause", "first-run", "--release").stdout == (
        "first-run: stopped, the memory is given back until you say homerun resume.\n"
    )


def test_a_stop_tells_what_the_disk_did_not_take(double: ApiDouble, run: Run) -> None:
    double.set("POST", "pause", Answer(d.to_json(api.hold(effect=d.Effect.RELEASE))))
    assert "has not left yet" in run("pause", "--release").stderr
    gone = api.run_view(trainer_pid=None)
    double.set("GET", "status", Answer(d.to_json(api.snapshot(run=gone))))
    assert run("pause", "--release").stderr == ""
    kept = dataclasses.replace(gone, memory_step=gone.checkpoint.step + 16)
    double.set("GET", "status", Answer(d.to_json(api.snapshot(run=kept))))
    told = run("pause", "--release").stderr
    assert "is on the disk, the 16 steps after it are only in memory: a reboot would" in told
    assert "Make room on the disk" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("--for", "soon"),
        ("--for", "0s"),
        ("--for", "-2h"),
        ("--for", "20y"),
        ("--until", "25:00"),
        ("--until", "yesterday"),
        ("--until", "2026-11-30T18:00"),
        ("--until", "2026-12-01T10:30:00Z"),
        ("--for", "2h", "--until", "18:00"),
        ("--nonsense",),
        ("one", "two"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused_before_anybody_is_asked(
    double: ApiDouble, run: Run, arguments: tuple[str, ...]
) -> None:
    result = run("pause", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("homerun: ")
    assert "\n  fix: " in result.stderr
    assert double.requests == []


def test_resume_says_going_on(double: ApiDouble, run: Run) -> None:
    result = run("resume")
    assert (result.exit_code, result.stdout) == (0, "Going on.\n")
    assert double.asked("resume").body == {}


def test_resume_names_what_still_holds_and_exits_75(double: ApiDouble, run: Run) -> None:
    tariff = api.hold(reason=d.Reason.TARIFF, detail="0.41 EUR/kWh")
    double.set("POST", "resume", Answer({"ended": True, "holds": d.to_json([tariff])}))
    result = run("resume", "first-run")
    assert result.exit_code == 75
    assert "still held by the tariff (0.41 EUR/kWh)" in result.stderr
    assert "until 13:30 CET (in 2 h)" in result.stderr
    assert json.loads(run("resume", "--json").stdout)["holds"][0]["reason"] == "tariff"


def test_a_power_cap_that_stays_does_not_hold_the_run(double: ApiDouble, run: Run) -> None:
    cap = api.hold(effect=d.Effect.CAP, cap_watts=120.0)
    double.set("POST", "resume", Answer({"ended": True, "holds": d.to_json([cap])}))
    assert run("resume").exit_code == 0


def test_finish_says_when_it_will_stop(double: ApiDouble, run: Run) -> None:
    result = run("finish", "first-run", "-m", "moving house")
    assert result.exit_code == 0
    assert "next checkpoint" in result.stdout
    assert double.asked("finish").body == {"run": "first-run", "detail": "moving house"}


# --- runs -----------------------------------------------------------------------------------


def test_runs_is_a_table_that_fits(double: ApiDouble, run: Run) -> None:
    lines = run("runs").stdout.splitlines()
    assert lines[0].split()[:2] == ["RUN", "STATE"]
    assert lines[1].split()[:5] == ["first-run", "active", "0", "18,310", "2.9"]
    assert max(map(len, lines)) <= 80


def test_no_runs_is_no_table(double: ApiDouble, run: Run) -> None:
    double.set("GET", "runs", Answer([]))
    result = run("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "homerun submit" in result.stderr


def test_submit_sends_the_whole_pinned_spec(double: ApiDouble, run: Run) -> None:
    result = run("submit", str(serve.FIRST_RUN), "--priority", "5")
    assert (result.exit_code, result.stdout) == (0, "second-run is queued, priority 5.\n")
    body = double.asked("runs").body
    assert body["priority"] == 5
    assert body["spec"] == serve.first_run()
    assert body["spec"]["checkpoint"]["keep"] == 3, "defaults are pinned too"


@pytest.mark.parametrize("allowed", [False, True])
def test_submit_says_that_a_corpus_looks_too_small(
    double: ApiDouble, run: Run, tmp_path: Path, allowed: bool
) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(4):
        (tmp_path / "texts" / f"{number}.txt").write_text("x" * 48_000)
    spec = tmp_path / "run.toml"
    spec.write_text(
        'name = "a"\n[data]\ncorpus = "texts"\n'
        f"allow_repeats = {str(allowed).lower()}\n[train]\ntokens = 1048576\n"
    )
    result = run("submit", str(spec))
    assert result.exit_code == 0
    said = "the run wants 1.05 M tokens, and the 4 files of"
    assert (said in result.stderr) is not allowed
    assert ("give about 40 k; about 101 more like them are missing" in result.stderr) is not allowed


def test_submit_names_every_problem_of_a_spec_and_exits_78(
    double: ApiDouble, run: Run, tmp_path: Path
) -> None:
    spec = tmp_path / "bad.toml"
    spec.write_text('name = "x"\n[model]\ndepht = 3\n[train]\nmicro_batch = 0\n')
    result = run("submit", str(spec))
    assert result.exit_code == 78
    assert f"homerun: {spec}:3: model.depht: unknown key; did you mean 'depth'?" in result.stderr
    assert f"{spec}:5: train.micro_batch" in result.stderr
    assert double.requests == []


def test_submit_of_a_missing_file_exits_78(double: ApiDouble, run: Run) -> None:
    result = run("submit", "nowhere.toml")
    assert result.exit_code == 78
    assert "no such file" in result.stderr


def test_cancel_asks_for_exactly_that_run(double: ApiDouble, run: Run) -> None:
    assert "cancelled" in run("cancel", "second-run").stdout
    assert run("cancel", "../pause").exit_code == 1, "a name cannot become another path"
    assert double.requests[-1].path == "/api/v1/runs/..%2Fpause/cancel"


# --- checkpoints ----------------------------------------------------------------------------


def test_checkpoints_are_listed_with_their_whole_names(double: ApiDouble, run: Run) -> None:
    lines = run("checkpoints", "list", "first-run").stdout.splitlines()
    assert double.asked("checkpoints").query == {"run": "first-run"}
    assert "gen-00001200-000002-0a1b2c3d" in lines[1]
    assert "38.4 MB" in lines[1]
    assert "PVM" in lines[0]
    assert ["  -VM  gen-" in lines[1], "  PV-  gen-" in lines[2]] == [True, True]
    assert lines[1].endswith("schedule")
    assert max(map(len, lines)) <= 80


def test_verify_of_a_damaged_checkpoint_exits_1_and_says_what_is_wrong(
    double: ApiDouble, run: Run
) -> None:
    good = {"name": "gen-b", "step": 8, "ok": True, "problems": []}
    bad = {"name": "gen-a", "step": 4, "ok": False, "problems": ["model: wrong checksum"]}
    double.set("POST", "checkpoints/verify", Answer([good, bad]))
    result = run("checkpoints", "verify", "first-run", "--name", "gen-a")
    assert double.asked("checkpoints/verify").body == {"run": "first-run", "name": "gen-a"}
    assert result.exit_code == 1
    assert "✓ gen-b  step 8" in result.stdout
    assert "✗ gen-a  step 4\n    model: wrong checksum" in result.stdout
    assert "damaged: gen-a" in result.stderr


def test_verify_all_asks_for_every_run(double: ApiDouble, run: Run) -> None:
    result = run("checkpoints", "verify", "--all", "--json")
    asked = [request.body for request in double.requests if request.path.endswith("verify")]
    assert [body["run"] for body in asked] == [item.name for item in api.RUNS]
    verdicts = json.loads(result.stdout)["verdicts"]
    assert [verdict["run"] for verdict in verdicts] == [item.name for item in api.RUNS]
    wrong = run("checkpoints", "verify", "first-run", "--all")
    assert wrong.exit_code == 2
    assert "--all goes with neither" in wrong.stderr


def test_prune_says_what_would_go_and_why(double: ApiDouble, run: Run) -> None:
    stays = {"name": "gen-b", "step": 8, "size_bytes": 9_000_000, "keep": True, "why": "pinned"}
    goes = {**stays, "name": "gen-a", "step": 4, "keep": False, "why": "over the budget"}
    double.set("POST", "checkpoints/prune", Answer([stays, goes]))
    result = run("checkpoints", "prune", "first-run", "--dry-run")
    assert double.asked("checkpoints/prune").body == {"run": "first-run", "dry_run": True}
    lines = result.stdout.splitlines()
    assert "gen-b" in lines[1]
    assert "pinned" in lines[1]
    assert "would go" in lines[2]
    assert "over the budget" in lines[2]
    assert lines[-1] == "1 of 2 would go, 9 MB."
    assert "1 of 2 deleted" in run("checkpoints", "prune").stdout


def test_pin_and_unpin_name_one_checkpoint(double: ApiDouble, run: Run) -> None:
    for command in ("pin", "unpin"):
        double.set("POST", f"checkpoints/{command}", Answer({"name": "gen-a"}))
        assert "gen-a" in run("checkpoints", command, "gen-a", "--run", "first-run").stdout
        body = double.asked(f"checkpoints/{command}").body
        assert body == {"run": "first-run", "name": "gen-a"}


def test_restore_names_the_mirror_and_tells_where_the_run_stands(
    double: ApiDouble, run: Run
) -> None:
    double.set("POST", "checkpoints/restore", Answer(d.to_json(api.CHECKPOINTS[0])))
    result = run("checkpoints", "restore", "first-run", "--from", "s3://attic/homerun")
    body = double.asked("checkpoints/restore").body
    assert body == {"run": "first-run", "url": "s3://attic/homerun"}
    assert result.stdout.startswith("Restored first-run at step 1,200: gen-00001200")
    run("checkpoints", "restore", "first-run", "--from", "nas")
    assert Path(double.asked("checkpoints/restore").body["url"]).is_absolute()
    assert run("checkpoints", "restore", "first-run").exit_code == 2


def test_save_tells_the_step_that_is_safe_now(double: ApiDouble, run: Run) -> None:
    assert run("checkpoints", "save").stdout == (
        "Saved step 1,200 of first-run: gen-00001200-000002-0a1b2c3d, 38.4 MB.\n"
    )


# --- events and logs ------------------------------------------------------------------------


def test_events_are_told_oldest_first(double: ApiDouble, run: Run) -> None:
    lines = run("events", "-n", "3").stdout.splitlines()
    assert double.asked("journal").query == {"limit": "3"}
    assert lines == [
        "30 Nov 11:30  homerun 0.1.0 started.",
        "11:21:00      warning: Attempt 1 at first-run ended: killed by SIGKILL.",
        "11:27:00      Saved step 1200.",
    ]


def test_following_events_goes_on_after_the_newest_and_repeats_none(
    double: ApiDouble, run: Run
) -> None:
    old = d.to_json(api.JOURNAL[2])
    new = {**old, "id": 4, "message": "Saved step 1300."}
    double.events("stream", ("status", "", {}), ("journal", "3", old), ("journal", "4", new))
    result = run("events", "-f")
    assert double.asked("stream").headers["Last-Event-ID"] == "4", "it reconnects where it was"
    assert result.stdout.count("Saved step 1200.") == 1
    assert result.stdout.endswith("Saved step 1300.\n")


def test_followed_events_as_json_are_one_object_a_line(double: ApiDouble, run: Run) -> None:
    new = {**d.to_json(api.JOURNAL[2]), "id": 4}
    other = {**new, "id": 5, "run": "second-run"}
    double.events("stream", ("journal", "4", new), ("journal", "5", other))
    result = run("events", "-f", "first-run", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["id"] for line in lines] == [1, 2, 3, 4], "the other run's entry is left out"
    assert all(line["schema"] == 1 for line in lines)


def test_a_daemon_that_stays_away_ends_the_following_with_69(
    double: ApiDouble, run: Run, clock: FakeClock
) -> None:
    double.set("GET", "stream", api.error("too_many_clients", 503, "the daemon is stopping"))
    before = clock.monotonic()
    result = run("events", "-f")
    assert result.exit_code == 69
    assert result.stderr.count("trying again") == 1
    assert clock.monotonic() - before > 60


def test_logs_print_the_last_lines_without_control_characters(double: ApiDouble, run: Run) -> None:
    double.set("GET", "logs", Answer({"file": "/x", "lines": ["one\ttab", "\x1b[31mred\x1b[0m"]}))
    result = run("logs", "first-run", "-n", "2")
    assert double.asked("logs").query == {"run": "first-run", "lines": "2"}
    assert result.stdout == "one tab\n [31mred [0m\n"


def test_following_logs_takes_the_last_lines_once(double: ApiDouble, run: Run) -> None:
    double.events("logs/stream", ("line", "", '"step 1"'), ("line", "", '"step 2"'))
    result = run("logs", "-f", "-n", "7")
    assert result.stdout == "step 1\nstep 2\n"
    asked = [r.query["lines"] for r in double.requests if r.path.endswith("logs/stream")]
    assert asked[:2] == ["7", "0"]


# --- the rest -------------------------------------------------------------------------------


def test_healthcheck_is_one_word(double: ApiDouble, run: Run) -> None:
    assert run("healthcheck").stdout == "ok\n"


def test_version_works_with_and_without_a_daemon(
    double: ApiDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(run("version", "--json").stdout)["version"]["daemon"] == "0.1.0"
    double.set("GET", "status", api.error("internal", 500, "broken"))
    result = run("version")
    assert result.exit_code == 0
    assert "not running" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "noun"),
    [
        (("runs",), "runs"),
        (("checkpoints", "list"), "checkpoints"),
        (("checkpoints", "verify"), "verdicts"),
        (("checkpoints", "save"), "checkpoint"),
        (("events",), "events"),
        (("logs",), "logs"),
        (("pause",), "hold"),
        (("resume",), "holds"),
        (("finish",), "hold"),
        (("cancel", "second-run"), "run"),
        (("submit", str(serve.FIRST_RUN)), "run"),
        (("version",), "version"),
        (("config", "show"), "config"),
        (("config", "check"), "config"),
    ],
)
def test_json_is_valid_versioned_and_alone_on_stdout(
    double: ApiDouble, run: Run, arguments: tuple[str, ...], noun: str
) -> None:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == 1
    assert set(document) == {"schema", noun}


@pytest.mark.parametrize("arguments", [("runs",), ("checkpoints", "list")])
def test_tables_with_the_longest_names_still_fit(
    double: ApiDouble, run: Run, arguments: tuple[str, ...]
) -> None:
    name = "n" * 63
    double.set("GET", "runs", Answer([{**d.to_json(api.RUNS[0]), "name": name}]))
    double.set("GET", "checkpoints", Answer([{**d.to_json(api.CHECKPOINTS[0]), "run": name}]))
    lines = run(*arguments).stdout.splitlines()
    assert max(render.cells(line) for line in lines) <= 80
