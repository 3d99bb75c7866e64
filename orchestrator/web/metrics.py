"""/metrics: one collector that reads each topic once a scrape, so that values cannot tear.

What is unknown is absent, never 0. Totals come from the store through the snapshot and go on
over restarts. Label ``run`` is empty while no run is active.
"""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.domain import Effect, Hold, Reason, RunState, RunView, Snapshot
from orchestrator.home.clock import Clock
from orchestrator.version import VERSION
from orchestrator.web.backend import Backend
from orchestrator.web.families import counter, gauge, one_of, timestamp
from orchestrator.web.house_metrics import house_metrics
from orchestrator.web.plan_metrics import bill_metrics, plan_metrics
from orchestrator.web.price_metrics import price_metrics
from orchestrator.web.totals import Totals

log = logging.getLogger(__name__)

#: what RunView.phase may say
PHASES = (
    *("idle", "starting", "start", "data", "load", "train", "eval"),
    *("checkpoint", "paused", "done"),
)
ENGINE_STATES = ("off", "starting", "ready")


def build_registry(backend: Backend, clock: Clock) -> CollectorRegistry:
    """A registry of our own: what the backend tells, and the daemon's process_* metrics."""
    registry = CollectorRegistry()
    registry.register(TopicCollector(_topics(backend), clock))
    ProcessCollector(registry=registry)
    return registry


Topic = Callable[[], Iterable[Metric]]


def _topics(backend: Backend) -> dict[str, Topic]:
    totals = Totals()
    return {
        "snapshot": lambda: _snapshot_metrics(backend.snapshot(), totals),
        "prices": lambda: price_metrics(backend.prices(1)),
        "surroundings": lambda: house_metrics(backend.surroundings()),
    }


class TopicCollector(Collector):
    """Asks for each topic once a scrape. A scrape never fails: it says what it could not read."""

    def __init__(self, topics: Mapping[str, Topic], clock: Clock) -> None:
        self._topics = topics
        self._clock = clock
        self._lock = threading.Lock()
        self._errors = dict.fromkeys(topics, 0)
        self._build = _build_info()

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Called once a scrape."""
        errors = counter("collect_errors", "Scrapes that could not read this.", ("collector",))
        took = gauge("collect_duration_seconds", "Seconds that the last look took.", ("collector",))
        metrics: list[Metric] = [self._build, errors, took]
        with self._lock:
            for name, topic in self._topics.items():
                began = self._clock.monotonic()
                metrics += self._asked(name, topic)
                errors.put((name,), self._errors[name])
                took.put((name,), self._clock.monotonic() - began)
        yield from metrics

    def _asked(self, name: str, topic: Topic) -> list[Metric]:
        try:
            return list(topic())
        except Exception:
            # Prometheus must still hear that we live, and that this failed.
            log.exception("the %s cannot be turned into metrics", name)
            self._errors[name] += 1
            return []


def _snapshot_metrics(snapshot: Snapshot, totals: Totals) -> Iterator[Metric]:
    yield from _daemon(snapshot)
    yield from _queue(snapshot)
    yield from _holds(snapshot)
    yield from totals.of(snapshot)
    yield from bill_metrics(snapshot.bills)
    if snapshot.run is not None:
        yield from _run(snapshot.run)
        if snapshot.plan is not None:
            yield from plan_metrics(snapshot.run.name, snapshot.plan)


# --- one function a topic -------------------------------------------------------------------


def _daemon(snapshot: Snapshot) -> Iterator[Metric]:
    yield gauge("snapshot_timestamp_seconds", "When the values were gathered.").put(
        (), snapshot.time.timestamp()
    )
    yield one_of(
        "engine_state",
        "1 for the state that the engine is in.",
        "state",
        ENGINE_STATES,
        snapshot.daemon.engine_state,
    )
    yield one_of(
        "setpoint_effect",
        "1 for what all holds add up to.",
        "effect",
        [effect.value for effect in Effect],
        snapshot.setpoint.effect.value,
    )


def _queue(snapshot: Snapshot) -> Iterator[Metric]:
    yield gauge("queue_runs", "Runs that wait for their turn.").put((), len(snapshot.queue))
    states = [(item.name, RunState.QUEUED) for item in snapshot.queue]
    if snapshot.run is not None:
        states.append((snapshot.run.name, snapshot.run.state))
    family = gauge("run_state", "1 for the state that a run is in.", ("run", "state"))
    for name, current in states:
        for state in RunState:
            family.put((name, state.value), state is current)
    yield family


def _holds(snapshot: Snapshot) -> Iterator[Metric]:
    active = gauge("hold_active", "1 while a run is held for this reason.", ("run", "reason"))
    until = gauge(
        "hold_until_timestamp_seconds", "When a hold ends, where that is known.", ("run", "reason")
    )
    runs = {snapshot.run.name if snapshot.run else ""}
    runs |= {hold.run for hold in snapshot.holds if hold.run is not None}
    for run in sorted(runs):
        mine = [hold for hold in snapshot.holds if hold.run in (None, run)]
        for reason in Reason:
            these = [hold for hold in mine if hold.reason is reason]
            active.put((run, reason.value), bool(these))
            until.put((run, reason.value), timestamp(_last_end(these)))
    yield active
    yield until


def _last_end(holds: list[Hold]) -> datetime | None:
    ends = [hold.until for hold in holds if hold.until is not None]
    return max(ends) if ends and len(ends) == len(holds) else None


def _run(run: RunView) -> Iterator[Metric]:
    mine = (run.name,)
    yield gauge("run_info", "The active run.", ("run", "attempt", "peak_source")).put(
        (run.name, "" if run.attempt is None else str(run.attempt), run.peak_source), 1
    )
    yield one_of(
        "train_phase", "1 for what the trainer does.", "phase", PHASES, run.phase, ("run",), mine
    )
    for name, text, value in _values_of(run):
        yield gauge(name, text, ("run",)).put(mine, value)
    yield gauge("power_watts", "Power drawn now, by how it is known.", ("run", "source")).put(
        (run.name, run.power.source), run.power.watts
    )


def _values_of(run: RunView) -> Iterator[tuple[str, str, float | None]]:
    yield "train_step", "Finished steps; falls when a checkpoint is resumed.", run.step
    yield "train_target_steps", "Steps of the whole run.", run.steps
    yield "train_parameters", "Parameters of the model.", run.parameters
    yield "train_epoch", "Passes over the training data.", run.epoch if run.tokens else None
    yield "train_loss", "Training loss in nats per token.", run.loss
    yield "train_gradient_norm", "Norm of the gradient before clipping.", run.gradient_norm
    yield "train_learning_rate_ratio", "Learning rate over its peak.", run.lr_multiplier
    yield "train_mfu_ratio", "FLOP/s over the device's dense peak.", run.mfu
    # Written out it would hold "bits", which promtool takes for a unit that is not a base unit.
    yield "eval_bpb", "Validation loss in bits per byte.", run.bits_per_byte
    yield "progress_ratio", "Finished steps over all steps.", run.progress if run.steps else None
    yield "eta_timestamp_seconds", "When the run will be finished.", timestamp(run.eta)
    yield "unsaved_seconds", "Computing time that a power cut would lose.", run.unsaved_seconds
    every = run.checkpoint_every_seconds
    yield "checkpoint_interval_seconds", "Time between two saves, as the spec wants it.", every
    saved = run.checkpoint
    if saved is not None:
        name = "checkpoint_last_success_timestamp_seconds"
        yield name, "When the newest checkpoint was committed.", saved.time.timestamp()
        yield "checkpoint_last_step", "Step of the newest checkpoint.", saved.step
        yield "checkpoint_bytes", "Size of the newest checkpoint.", saved.size_bytes
        name = "checkpoint_write_seconds"
        yield name, "From its first byte to its commit.", saved.write_seconds
        name = "checkpoint_stall_seconds"
        yield name, "What training has waited for the newest checkpoint.", saved.stall_seconds


def _build_info() -> Metric:
    labels = ("version", "python", "torch", "ray")
    values = (VERSION, platform.python_version(), _installed("torch"), _installed("ray"))
    return gauge("build_info", "What runs here.", labels).put(values, 1)


def _installed(package: str) -> str:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
