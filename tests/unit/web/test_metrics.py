"""/metrics: what Prometheus reads, and what it must never read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.domain import AttemptEnd, Effect, Hold, Power, Reason, RunState, Snapshot
from orchestrator.home.clock import FakeClock
from orchestrator.version import VERSION
from orchestrator.web.fake import FakeBackend
from orchestrator.web.metrics import build_registry

from .conftest import Serve, Site
from .tools import tool_or_skip

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
Scrape = Callable[[], Series]


def parsed(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def openmetrics_families(text: str) -> set[str]:
    parse: Callable[[str], Iterable[Metric]] = openmetrics_parser.text_string_to_metric_families
    return {family.name for family in parse(text)}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"homerun_{name}", frozenset(labels.items())


def names(series: Series) -> set[str]:
    return {name for name, _ in series}


@pytest.fixture
def scrape(backend: FakeBackend, clock: FakeClock) -> Scrape:
    registry = build_registry(backend, clock)
    return lambda: parsed(generate_latest(registry).decode())


def test_running_run_is_told_in_base_units(scrape: Scrape, clock: FakeClock) -> None:
    series = scrape()
    evening = {"run": "evening"}
    assert series[key("train_step", **evening)] == 300
    assert series[key("train_target_steps", **evening)] == 5000
    assert series[key("train_steps_total", **evening)] == 300
    assert series[key("train_tokens_total", **evening)] == 300 * 16_384
    assert series[key("train_lost_steps_total", **evening)] == 0
    assert series[key("progress_ratio", **evening)] == pytest.approx(0.06)
    assert series[key("train_mfu_ratio", **evening)] == 0.413
    now = clock.now().timestamp()
    assert series[key("eta_timestamp_seconds", **evening)] == now + 4700 * 2
    assert series[key("checkpoint_last_success_timestamp_seconds", **evening)] == now
    assert series[key("checkpoint_last_step", **evening)] == 210
    assert series[key("checkpoint_bytes", **evening)] == 37_400_000
    assert series[key("checkpoints_total", **evening)] == 1
    assert series[key("checkpoint_failures_total", **evening)] == 0
    assert series[key("power_watts", source="estimated", **evening)] == 118
    assert series[key("snapshot_timestamp_seconds")] >= now


def test_build_is_told_without_importing_torch_or_ray(scrape: Scrape) -> None:
    builds = [dict(labels) for name, labels in scrape() if name == "homerun_build_info"]
    assert [build["version"] for build in builds] == [VERSION]
    assert set(builds[0]) == {"version", "python", "torch", "ray"}


def test_every_reason_and_every_state_is_always_there(scrape: Scrape) -> None:
    series = scrape()
    for reason in Reason:
        assert series[key("hold_active", run="evening", reason=reason.value)] == 0
    for run, current in (("evening", "active"), ("winter", "queued")):
        for state in RunState:
            assert series[key("run_state", run=run, state=state.value)] == (state == current)
    for end in AttemptEnd:
        if end not in (AttemptEnd.FINISHED, AttemptEnd.STOPPED):
            expected = 1 if end is AttemptEnd.CRASHED else 0
            found = series[key("trainer_restarts_total", run="evening", reason=end.value)]
            assert found == expected
    assert series[key("train_phase", run="evening", phase="train")] == 1
    assert series[key("train_phase", run="evening", phase="paused")] == 0


def test_hold_is_told_with_its_end_only_where_that_is_known(
    scrape: Scrape, backend: FakeBackend, clock: FakeClock
) -> None:
    now, until = clock.now(), clock.now() + timedelta(hours=3)
    backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", now, until))
    backend.hold(Hold(Reason.USER, Effect.PAUSE, "cli", now, None, run="evening"))
    backend.hold(Hold(Reason.DISK, Effect.RELEASE, "disk", now, None, run="winter"))
    series = scrape()
    assert series[key("hold_active", run="evening", reason="tariff")] == 1
    assert series[key("hold_active", run="evening", reason="user")] == 1
    assert series[key("hold_active", run="evening", reason="disk")] == 0
    assert series[key("hold_active", run="winter", reason="disk")] == 1
    ends = {labels: value for (name, labels), value in series.items() if "hold_until" in name}
    assert set(ends.values()) == {until.timestamp()}
    assert {dict(labels)["reason"] for labels in ends} == {"tariff"}
    assert series[key("setpoint_effect", effect="release")] == 1


def test_two_holds_of_one_reason_end_when_the_later_does_or_nobody_knows(
    scrape: Scrape, backend: FakeBackend, clock: FakeClock
) -> None:
    now = clock.now()
    until = key("hold_until_timestamp_seconds", run="evening", reason="thermal")
    for hours in (1, 2):
        end = now + timedelta(hours=hours)
        backend.hold(Hold(Reason.THERMAL, Effect.PAUSE, "gpu", now, end))
    assert scrape()[until] == (now + timedelta(hours=2)).timestamp()
    backend.hold(Hold(Reason.THERMAL, Effect.PAUSE, "gpu", now, None))
    assert until not in scrape()


def test_unknown_is_absent_and_never_zero(scrape: Scrape, backend: FakeBackend) -> None:
    backend.show(
        steps=None, parameters=None, loss=None, bits_per_byte=None, gradient_norm=None,
        lr_multiplier=None, mfu=None, eta=None, checkpoint=None, tokens=0, attempt=None,
        power=Power(None, "none", measured=False),
    )  # fmt: skip
    unknown = {
        f"homerun_{name}"
        for name in (
            "train_target_steps", "train_parameters", "train_loss", "eval_bpb",
            "train_gradient_norm", "train_learning_rate_ratio", "train_mfu_ratio",
            "eta_timestamp_seconds", "progress_ratio", "train_epoch", "power_watts",
            "checkpoint_last_success_timestamp_seconds", "checkpoint_last_step",
            "checkpoint_bytes",
        )
    }  # fmt: skip
    assert names(scrape()) & unknown == set()


def test_loss_that_is_not_a_number_is_shown_as_such(scrape: Scrape, backend: FakeBackend) -> None:
    backend.show(loss=float("nan"))
    loss = scrape()[key("train_loss", run="evening")]
    assert loss != loss


def test_without_a_run_the_reasons_are_still_there(scrape: Scrape, backend: FakeBackend) -> None:
    backend.empty()
    series = scrape()
    assert series[key("hold_active", run="", reason="user")] == 0
    assert series[key("queue_runs")] == 0
    assert "homerun_train_step" not in names(series)
    # What was done stays done.
    assert series[key("train_steps_total", run="evening")] == 300


def test_phase_and_state_that_we_do_not_know_get_a_series(
    scrape: Scrape, backend: FakeBackend
) -> None:
    backend.show(phase="dreaming")
    series = scrape()
    assert series[key("train_phase", run="evening", phase="dreaming")] == 1
    assert series[key("train_phase", run="evening", phase="train")] == 0


def test_counters_never_fall_whatever_the_backend_says(
    scrape: Scrape, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scrape()
    backend.advance(25)
    between = scrape()
    taken = backend.snapshot()
    lost = replace(taken, counters={"evening": {"steps": 3.0}})
    monkeypatch.setattr(backend, "snapshot", lambda: lost)
    after = scrape()
    for name, labels in before:
        if name.endswith("_total") and name.startswith("homerun_train"):
            assert before[name, labels] <= between[name, labels] <= after[name, labels]
    assert between[key("train_steps_total", run="evening")] == 325
    assert after[key("train_steps_total", run="evening")] == 325


def test_energy_is_split_by_how_it_is_known_and_adds_up(
    scrape: Scrape, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = {"energy_joules": 1000.0, "energy_estimated_joules": 400.0}
    taken = replace(backend.snapshot(), counters={"evening": totals, "winter": {}})
    monkeypatch.setattr(backend, "snapshot", lambda: taken)
    series = scrape()
    assert series[key("energy_joules_total", run="evening", source="measured")] == 600
    assert series[key("energy_joules_total", run="evening", source="estimated")] == 400
    # Nothing ever measured or estimated it: unknown.
    assert key("energy_joules_total", run="winter", source="measured") not in series


def test_one_scrape_reads_one_snapshot(
    scrape: Scrape, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Snapshot] = []
    real = backend.snapshot

    def counting() -> Snapshot:
        reads.append(real())
        return reads[-1]

    monkeypatch.setattr(backend, "snapshot", counting)
    scrape()
    assert len(reads) == 1


def test_scrape_that_finds_no_snapshot_says_so_and_does_not_fail(
    scrape: Scrape,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(backend, "snapshot", lambda: 1 / 0)
        series = scrape()
    assert series[key("collect_errors_total", collector="snapshot")] == 1
    assert "homerun_train_step" not in names(series)
    assert "process_resident_memory_bytes" in names(series)
    assert "ZeroDivisionError" in caplog.text
    assert scrape()[key("train_step", run="evening")] == 300


def test_no_created_series_double_the_count(scrape: Scrape) -> None:
    assert not [name for name in names(scrape()) if name.endswith("_created")]


def test_endpoint_speaks_both_formats(site: Site) -> None:
    plain = site.client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "homerun_train_step" in names(parsed(plain.text))
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    modern = site.client.get("/metrics", headers=accept)
    assert modern.headers["content-type"].startswith("application/openmetrics-text")
    assert "homerun_train_steps" in openmetrics_families(modern.text)


def test_openmetrics_is_well_formed_too(backend: FakeBackend, clock: FakeClock) -> None:
    generate: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
    text = generate(build_registry(backend, clock)).decode()
    assert text.endswith("# EOF\n")
    assert "homerun_hold_active" in openmetrics_families(text)


def test_scrapes_over_http_follow_the_run(serve: Serve) -> None:
    site = serve()
    step = key("train_step", run="evening")
    assert parsed(site.client.get("/metrics").text)[step] == 300
    site.backend.advance(7)
    assert parsed(site.client.get("/metrics").text)[step] == 307


def test_promtool_finds_nothing_to_complain_about(backend: FakeBackend, clock: FakeClock) -> None:
    promtool = tool_or_skip("promtool", "prometheus")
    until = clock.now() + timedelta(hours=1)
    backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", clock.now(), until))
    text = generate_latest(build_registry(backend, clock))
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
