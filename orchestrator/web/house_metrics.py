"""Card, UPS, disks and messages in /metrics. What is unknown or not there is absent, never 0."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from orchestrator.surroundings import GpuView, ReloadView, Surroundings, UpsView
from orchestrator.web.families import counter, gauge, timestamp


def house_metrics(around: Surroundings) -> Iterator[Metric]:
    """The surroundings as metrics."""
    free = gauge("storage_free_bytes", "Room left on a volume that we write to.", ("volume",))
    size = gauge("storage_size_bytes", "Size of a volume that we write to.", ("volume",))
    for volume in around.volumes:
        free.put((volume.name,), volume.free_bytes)
        size.put((volume.name,), volume.size_bytes)
    yield free
    yield size
    if around.messages is not None:
        sent = counter("notifications", "Messages since the start, by how they went.", ("result",))
        for result, number in around.messages.items():
            sent.put((result,), number)
        yield sent
    if around.reload is not None:
        yield from _reload(around.reload)
    if around.gpu is not None:
        yield from _gpu(around.gpu)
    if around.xids is not None:
        text = "Xid events that the driver of the card reported since the start, by number."
        xids = counter("gpu_xid_events", text, ("xid",))
        for xid, number in around.xids.items():
            xids.put((str(xid),), number)
        yield xids
    if around.ups is not None:
        yield from _ups(around.ups)


def _reload(view: ReloadView) -> Iterator[Metric]:
    yield gauge(
        "config_last_reload_successful", "0 while homerun.toml holds what cannot be used."
    ).put((), view.successful)
    yield gauge(
        "config_last_reload_success_timestamp_seconds", "When it was last taken into use."
    ).put((), timestamp(view.succeeded_at))


def _gpu(gpu: GpuView) -> Iterator[Metric]:
    yield gauge("gpu_answers", "1 while the card answers.").put((), gpu.reading is not None)
    yield gauge("gpu_processes", "Processes on the card, ours among them.").put((), gpu.processes)
    if gpu.reading is None:
        return
    for name, text, value in (
        ("gpu_power_watts", "What the card draws.", gpu.reading.power_watts),
        ("gpu_power_limit_watts", "The power limit in force.", gpu.reading.limit_watts),
        ("gpu_temperature_celsius", "Temperature of the core.", gpu.reading.temperature_celsius),
    ):
        yield gauge(name, text, ("source",)).put((gpu.source,), value)
    text = "Energy of the card since its driver was loaded."
    energy = counter("gpu_energy_joules", text, ("source",))
    if gpu.reading.energy_joules is not None:
        energy.put((gpu.source,), gpu.reading.energy_joules)
    yield energy


def _ups(ups: UpsView) -> Iterator[Metric]:
    yield gauge("ups_answers", "1 while the UPS answers.").put((), ups.reading is not None)
    yield gauge("ups_reading_timestamp_seconds", "When the UPS answered last.").put(
        (), timestamp(ups.read_at)
    )
    if ups.reading is None:
        return
    yield gauge("ups_on_battery", "1 while the mains are out.").put((), ups.reading.on_battery)
    yield gauge("ups_charge_ratio", "Charge of the battery.").put((), ups.reading.charge_ratio)
    yield gauge("ups_runtime_seconds", "How long the battery lasts, as the UPS says.").put(
        (), ups.reading.runtime_seconds
    )
    yield gauge("ups_load_watts", "What hangs on the UPS draws so much.").put(
        (), ups.reading.load_watts
    )
