"""UPS, disks, messages and the totals of the month in /metrics."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from prometheus_client import generate_latest

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import GpuReading
from orchestrator.home.ups import UpsReading
from orchestrator.surroundings import GpuView, Surroundings, UpsView
from orchestrator.web.fake import FakeBackend
from orchestrator.web.metrics import build_registry


@pytest.fixture
def scraped(backend: FakeBackend, clock: FakeClock) -> Scraped:
    return Scraped(backend, clock)


class Scraped:
    """Scrapes, and the values of what was scraped last by their text up to the space."""

    def __init__(self, backend: FakeBackend, clock: FakeClock) -> None:
        self._registry = build_registry(backend, clock)
        self._backend = backend

    def around(self, around: Surroundings) -> None:
        vars(self._backend)["surroundings"] = lambda: around

    def __call__(self) -> dict[str, float]:
        lines = generate_latest(self._registry).decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


def test_a_ups_on_mains_and_the_room_on_the_disk(scraped: Scraped, clock: FakeClock) -> None:
    values = scraped()
    assert values["homerun_ups_answers"] == 1
    assert values["homerun_ups_on_battery"] == 0
    assert values["homerun_ups_charge_ratio"] == 1
    assert values["homerun_ups_runtime_seconds"] == 1740
    assert values["homerun_ups_load_watts"] == 162
    assert values["homerun_ups_reading_timestamp_seconds"] == clock.now().timestamp() - 2
    assert values['homerun_storage_free_bytes{volume="state"}'] == 412e9
    assert values['homerun_storage_size_bytes{volume="state"}'] == 983e9
    assert values['homerun_notifications_total{result="sent"}'] == 4
    assert values['homerun_notifications_total{result="failed"}'] == 0


def test_a_card_at_work(scraped: Scraped) -> None:
    values = scraped()
    assert values["homerun_gpu_answers"] == 1
    assert values['homerun_gpu_power_watts{source="nvml"}'] == 118
    assert values['homerun_gpu_power_limit_watts{source="nvml"}'] == 200
    assert values['homerun_gpu_temperature_celsius{source="nvml"}'] == 61
    assert values['homerun_gpu_energy_joules_total{source="nvml"}'] == 1.7e9
    assert values["homerun_gpu_processes"] == 2


def test_a_card_that_is_lost_says_only_that(scraped: Scraped) -> None:
    scraped.around(Surroundings(gpu=GpuView(None, None)))
    assert {name: value for name, value in scraped().items() if "_gpu_" in name} == {
        "homerun_gpu_answers": 0
    }


def test_what_a_card_does_not_say_is_absent(scraped: Scraped) -> None:
    scraped.around(Surroundings(gpu=GpuView(GpuReading(None, 50.0, None, None), 0)))
    assert {name for name in scraped() if "_gpu_" in name} == {
        "homerun_gpu_answers",
        "homerun_gpu_processes",
        'homerun_gpu_temperature_celsius{source="nvml"}',
    }


def test_a_simulated_card_is_called_one(scraped: Scraped) -> None:
    reading = GpuReading(215.0, 70.0, 1.0, 200.0)
    scraped.around(Surroundings(gpu=GpuView(reading, 0, "simulated")))
    values = scraped()
    assert values['homerun_gpu_power_watts{source="simulated"}'] == 215
    assert not [name for name in values if "nvml" in name and "_gpu_" in name]


def test_a_silent_ups_leaves_nothing_but_the_time_of_its_last_word(
    scraped: Scraped, clock: FakeClock
) -> None:
    scraped.around(Surroundings(ups=UpsView(None, clock.now() - timedelta(minutes=5))))
    values = {name: value for name, value in scraped().items() if "_ups_" in name}
    assert values == {
        "homerun_ups_answers": 0,
        "homerun_ups_reading_timestamp_seconds": clock.now().timestamp() - 300,
    }


def test_a_ups_that_never_answered_has_no_time_either(scraped: Scraped) -> None:
    scraped.around(Surroundings(ups=UpsView(None, None)))
    assert [name for name in scraped() if "_ups_" in name] == ["homerun_ups_answers"]


def test_what_the_ups_does_not_say_is_absent(scraped: Scraped, clock: FakeClock) -> None:
    scraped.around(Surroundings(ups=UpsView(UpsReading(on_battery=True), clock.now())))
    values = scraped()
    assert values["homerun_ups_on_battery"] == 1
    assert "homerun_ups_charge_ratio" not in values
    assert "homerun_ups_runtime_seconds" not in values


def test_xid_events_are_counted_by_number_and_none_yet_is_no_series(scraped: Scraped) -> None:
    scraped.around(Surroundings(xids={31: 2, 79: 1}))
    values = scraped()
    assert values['homerun_gpu_xid_events_total{xid="31"}'] == 2
    assert values['homerun_gpu_xid_events_total{xid="79"}'] == 1
    scraped.around(Surroundings(xids={}))
    assert not [name for name in scraped() if "xid" in name]


def test_a_house_without_ups_and_messages_says_nothing_of_them(scraped: Scraped) -> None:
    scraped.around(Surroundings())
    words = ("_ups_", "_gpu_", "notifications", "storage")
    assert not [name for name in scraped() if any(word in name for word in words)]


def test_trouble_with_one_topic_leaves_the_others(
    scraped: Scraped, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    vars(backend)["surroundings"] = lambda: 1 / 0
    values = scraped()
    assert values['homerun_collect_errors_total{collector="surroundings"}'] == 1
    assert values['homerun_collect_errors_total{collector="snapshot"}'] == 0
    assert values['homerun_train_step{run="evening"}'] == 300
    assert "ZeroDivisionError" in caplog.text


def test_step_times_are_a_histogram_and_phases_add_up(
    scraped: Scraped, backend: FakeBackend
) -> None:
    backend.advance(10)
    values = scraped()
    name = "homerun_train_step_duration_seconds"
    # of 2 s each
    assert values[f'{name}_bucket{{le="1.0",run="evening"}}'] == 0
    assert values[f'{name}_bucket{{le="3.0",run="evening"}}'] == 310
    assert values[f'{name}_bucket{{le="+Inf",run="evening"}}'] == 310
    assert values[f'{name}_count{{run="evening"}}'] == 310
    assert values[f'{name}_sum{{run="evening"}}'] == pytest.approx(620)
    phases = ("data", "compute", "optimizer")
    spent = [
        values[f'homerun_train_phase_seconds_total{{phase="{phase}",run="evening"}}']
        for phase in phases
    ]
    assert sum(spent) == pytest.approx(620)


def test_every_reason_has_seconds_and_only_the_one_that_holds_grows(
    scraped: Scraped, backend: FakeBackend, clock: FakeClock
) -> None:
    backend.hold(Hold(Reason.TARIFF, Effect.PAUSE, "tariff", clock.now(), None))
    backend.advance(30)
    seconds = {
        reason: scraped()[f'homerun_hold_seconds_total{{reason="{reason}",run="evening"}}']
        for reason in Reason
    }
    assert seconds == {**dict.fromkeys(Reason, 0.0), Reason.TARIFF: 60.0}


def test_the_histogram_never_falls_either(scraped: Scraped, backend: FakeBackend) -> None:
    before = scraped()
    lost = dataclasses.replace(backend.snapshot(), counters={"evening": {}})
    vars(backend)["snapshot"] = lambda: lost
    assert {name: value for name, value in scraped().items() if "step_duration" in name} == {
        name: value for name, value in before.items() if "step_duration" in name
    }
