"""status: one screen that says how it goes, why, and until when."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from orchestrator import domain as d
from orchestrator.cli import render
from tests.unit.cli import api_double as api
from tests.unit.cli.api_double import Answer, ApiDouble
from tests.unit.cli.conftest import Run

HELD = d.Setpoint(d.Effect.PAUSE, None, (d.Reason.USER,), api.NOW + timedelta(hours=2))


def show(double: ApiDouble, snapshot: d.Snapshot) -> None:
    double.set("GET", "status", Answer(d.to_json(snapshot)))


def test_status_shows_all_that_a_person_asks_for(double: ApiDouble, run: Run) -> None:
    result = run("status")
    assert result.exit_code == 0
    text = result.stdout
    for part in (
        "Training first-run, step 1,204 of 18,310 (7%)",
        "6.5 %",
        "1,204 of 18,310, micro-batch 3 of 16, 9.86 M tokens, epoch 0.42",
        "19:34 CET (in 8 h 4 min)",
        "3.412  █",
        "2.213 bits per byte, 8.914 before training",
        "4,812 tokens/s, 38.2 % MFU (peak: RTX 4070, bf16 dense)",
        "182 W measured by NVML, 14.20 kWh so far",
        "step 1,200, 3 min ago, 38.4 MB",
        "1 restart, 14 steps computed twice",
        "second-run, third-run",
        "killed by SIGKILL",
        "http://127.0.0.1:8420",
    ):
        assert part in text, f"{part!r} is missing in\n{text}"


def test_a_hold_names_who_why_since_and_until(double: ApiDouble, run: Run) -> None:
    show(double, api.snapshot(holds=(api.hold(),), setpoint=HELD))
    flat = " ".join(run("status").stdout.split())
    assert "you (gaming): paused since 10:30, until 13:30 CET (in 2 h)" in flat


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"until": None}, "until you say homerun resume"),
        ({"reason": d.Reason.THERMAL, "until": None}, "heat (gaming): paused"),
        ({"effect": d.Effect.CAP, "cap_watts": 120.0}, "slowed down to 120 W"),
        ({"effect": d.Effect.RELEASE}, "stopped, memory given back"),
        ({"reason": d.Reason.DRAIN, "until": None}, "until the daemon is started again"),
        ({"run": "first-run"}, "only first-run"),
        ({"until": api.NOW + timedelta(days=1)}, "until Wed 2 Dec 11:30 CET (in 1 d)"),
    ],
)
def test_every_kind_of_hold_has_its_words(
    double: ApiDouble, run: Run, changes: dict[str, object], words: str
) -> None:
    show(double, api.snapshot(holds=(api.hold(**changes),)))
    assert words in " ".join(run("status").stdout.split())


def test_an_estimate_is_marked_as_one(double: ApiDouble, run: Run) -> None:
    power = d.Power(41.0, "estimated", measured=False)
    view = api.run_view(power=power, energy_joules=3600.0, energy_measured=False)
    show(double, api.snapshot(run=view))
    assert "41 W estimated, 1.0 Wh so far (estimated)" in run("status").stdout


def test_simulated_watts_are_called_simulated(double: ApiDouble, run: Run) -> None:
    power = d.Power(199.0, "simulated", measured=False)
    view = api.run_view(power=power, energy_measured=False, energy_joules=3600.0)
    double.set("GET", "status", Answer(d.to_json(api.snapshot(run=view))))
    assert "199 W simulated, 1.0 Wh so far (simulated)" in run("status").stdout


def test_unknown_is_left_out_and_never_shown_as_zero(double: ApiDouble, run: Run) -> None:
    unknown = dict.fromkeys(
        ("loss", "bits_per_byte", "tokens_per_second", "mfu", "eta", "checkpoint", "steps")
    )
    silent = d.Power(None, "nvml", measured=True)
    view = api.run_view(**unknown, power=silent, energy_joules=0.0, loss_history=())
    show(double, api.snapshot(run=view))
    text = run("status").stdout
    assert "no checkpoint yet" in text
    assert "1,204 of ?" in text
    for word in ("loss", "tokens/s", " W ", "finish     "):
        assert word not in text


def test_preparing_the_data_has_a_bar_of_its_own(double: ApiDouble, run: Run) -> None:
    view = api.run_view(phase="data", phase_detail="tokenizing", phase_fraction=0.5, steps=None)
    show(double, api.snapshot(run=view))
    text = run("status").stdout
    assert "50.0 %" in text
    assert "preparing the data: tokenizing" in text


def test_a_held_run_does_not_say_twice_that_it_waits(double: ApiDouble, run: Run) -> None:
    view = api.run_view(phase="idle")
    show(double, api.snapshot(run=view, holds=(api.hold(),), setpoint=HELD))
    assert "waiting to start" not in run("status").stdout
    show(double, api.snapshot(run=view))
    assert "now        waiting to start" in run("status").stdout


def test_a_daemon_without_a_run_says_so(double: ApiDouble, run: Run) -> None:
    nothing = api.snapshot(run=None, queue=(), headline="Nothing to train: the queue is empty.")
    show(double, nothing)
    text = run("status").stdout
    assert text.startswith("Nothing to train: the queue is empty.\n")
    assert "progress" not in text


def test_an_old_snapshot_is_not_shown_as_fresh(double: ApiDouble, run: Run) -> None:
    show(double, api.snapshot(time=api.NOW - timedelta(minutes=5)))
    assert "as things were 5 min ago" in run("status").stdout


def test_nothing_is_wider_than_80_columns(double: ApiDouble, run: Run) -> None:
    long = "a very long reason that somebody typed " * 6
    entry = d.JournalEntry(9, api.NOW, "note", "x" * 300, "error")
    view = api.run_view(
        name="n" * 63,
        step=123_456_789,
        steps=987_654_321,
        micro_batches=1024,
        tokens=10**15,
        peak_source="some card with an uncommonly long name, bf16 dense, from its data sheet",
        phase="data",
        phase_detail="y" * 200,
    )
    show(
        double,
        api.snapshot(
            run=view,
            headline="h" * 200,
            holds=(api.hold(detail=long), api.hold(detail="ゲーム" * 40)),
            queue=tuple(d.QueueItem("q" * 63, 0) for _ in range(9)),
            journal=(entry,),
        ),
    )
    lines = run("status").stdout.splitlines()
    assert max(render.cells(line) for line in lines) <= 80


def test_text_from_outside_cannot_steer_the_terminal(double: ApiDouble, run: Run) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202e"
    show(
        double,
        api.snapshot(
            headline=evil,
            holds=(api.hold(detail=evil),),
            journal=(d.JournalEntry(1, api.NOW, "x", evil),),
            run=api.run_view(phase="data", phase_detail=evil, peak_source=evil),
        ),
    )
    text = run("status").stdout
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text


def test_no_colour_where_nobody_could_see_it(double: ApiDouble, run: Run) -> None:
    assert "\x1b[" not in run("status").stdout


def test_colour_on_a_terminal_unless_no_color_is_set(
    double: ApiDouble, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[36m" in run("status", color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in run("status", color=True).stdout


def test_json_is_the_snapshot_itself(double: ApiDouble, run: Run) -> None:
    assert json.loads(run("status", "--json").stdout) == d.to_json(api.snapshot())


def test_status_without_a_daemon_exits_3_and_says_how_to_start_it(no_daemon: str, run: Run) -> None:
    result = run("status")
    assert result.exit_code == 3
    assert result.stdout == ""
    message, fix = result.stderr.splitlines()
    assert message == (
        f"homerun: the daemon is not running: nothing answers at {no_daemon} (from $HOMERUN_URL)"
    )
    assert fix == "  fix: start it with homerun serve"


def test_a_daemon_of_another_schema_is_not_guessed_at(double: ApiDouble, run: Run) -> None:
    double.set("GET", "status", Answer({**d.to_json(api.snapshot()), "schema": 2}))
    result = run("status")
    assert result.exit_code == 1
    assert "schema 2" in result.stderr


def test_the_next_thing_to_happen_by_itself_is_named(double: ApiDouble, run: Run) -> None:
    late = api.hold(reason=d.Reason.QUIET_HOURS, until=api.NOW + timedelta(hours=9))
    gone = api.hold(reason=d.Reason.UPS, until=api.NOW - timedelta(minutes=1))
    plain = d.to_json(api.snapshot(holds=(late, api.hold(), gone)))
    double.set("GET", "status", Answer(plain))
    assert "next       13:30 CET (in 2 h), you: over" in run("status").stdout
    soon = api.NOW + timedelta(minutes=30)
    unknown = (None, None, None, False)
    plan = d.PlanView("deadline", "cheapest", api.NOW, "", None, None, soon, "EUR", *unknown)
    double.set("GET", "status", Answer({**plain, "plan": d.to_json(plan)}))
    assert "next       12:00 CET (in 30 min), the plan changes" in run("status").stdout
    show(double, api.snapshot())
    assert "next  " not in run("status").stdout


def test_a_bill_of_the_ledger_is_shown_and_an_unknown_one_is_not(
    double: ApiDouble, run: Run
) -> None:
    plain = d.to_json(api.snapshot())
    bill = d.to_json(d.Bill("first-run", "EUR", Decimal("4.5678"), Decimal(20), None, None))
    double.set("GET", "status", Answer({**plain, "bills": [{**bill, "run": "other"}, bill]}))
    assert "cost       4.57 EUR so far" in run("status").stdout
    double.set("GET", "status", Answer({**plain, "bills": [{**bill, "cost": None}]}))
    assert "EUR" not in run("status").stdout


@pytest.mark.parametrize(
    ("mirror", "words"),
    [
        (d.MirrorView(), "mirror nothing copied yet"),
        (d.MirrorView(1100, api.NOW - timedelta(hours=2)), "mirror step 1,100, 2 h ago"),
        (
            d.MirrorView(1100, api.NOW - timedelta(hours=2), "/mnt/nas is not there"),
            "mirror step 1,100, 2 h ago; the last copy failed: /mnt/nas is not there",
        ),
    ],
)
def test_the_mirror_is_one_line(
    double: ApiDouble, run: Run, mirror: d.MirrorView, words: str
) -> None:
    show(double, api.snapshot(run=api.run_view(mirror=mirror)))
    assert words in " ".join(run("status").stdout.split())
    show(double, api.snapshot())
    assert "mirror" not in run("status").stdout
