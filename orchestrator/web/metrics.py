"""/metrics: one collector that reads one snapshot a scrape, so that values cannot tear.

What is unknown is absent, never 0. Totals come from the store through the snapshot and go on
over restarts. Label ``run`` is empty while no run is active.
"""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.domain import AttemptEnd, Effect, Hold, Reason, RunState, RunView, Snapshot
from orchestrator.home.clock import Clock
from orchestrator.version import VERSION
from orchestrator.web.backend import Backend
from orchestrator.web.price_metrics import PriceCollector

log = logging.getLogger(__name__)

#: what RunView.phase may say
PHASES = (
    *("idle", "starting", "start", "data", "load", "train", "eval"),
    *("checkpoint", "paused", "done"),
)
ENGINE_STATES = ("off", "starting", "ready")

#: totals of a run: counter in the snapshot, metric, help
_TOTALS = (
    ("steps", "train_steps", "Optimizer steps done, repeated ones included."),
    ("tokens", "train_tokens", "Tokens trained on, repeated ones included."),
    ("lost_steps", "train_lost_steps", "Steps done again because they were not saved."),
    ("rollbacks", "train_rollbacks", "Times that training went back because it diverged."),
    ("active_seconds", "active_seconds", "Seconds in which the run was computing."),
    ("checkpoints", "checkpoints", "Checkpoints committed."),
    ("checkpoint_failures", "checkpoint_failures", "Checkpoints that could not be saved."),
    ("damaged_checkpoints", "checkpoints_damaged", "Checkpoints set aside as damaged."),
    ("outages", "outages", "Gaps in the daemon's life that cut into the run."),
    ("outage_seconds", "outage_seconds", "Seconds lost in outages."),
    ("commands", "commands", "Commands that people and programs gave."),
)


def build_registry(backend: Backend, clock: Clock) -> CollectorRegistry:
    """A registry of our own: the snapshot, the prices, and the daemon's process_* metrics."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(backend, clock))
    registry.register(PriceCollector(backend))
    ProcessCollector(registry=registry)
    return registry


class SnapshotCollector(Collector):
    """Turns the snapshot into metrics. A scrape never fails: it says that it could not read."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._lock = threading.Lock()
        self._errors = 0
        self._build = _build_info()
        self._highest: dict[tuple[str, str, str], float] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Called once a scrape."""
        began = self._clock.monotonic()
        metrics: list[Metric] = [self._build]
        try:
            with self._lock:
                metrics += self._all(self._backend.snapshot())
        except Exception:
            # Prometheus must still hear that we live, and that this failed.
            log.exception("the snapshot cannot be turned into metrics")
            self._errors += 1
        yield from metrics
        yield _counter("collect_errors", "Scrapes that found no snapshot.", ("collector",)).put(
            ("snapshot",), self._errors
        )
        yield _gauge(
            "collect_duration_seconds", "Seconds that the last look took.", ("collector",)
        ).put(("snapshot",), self._clock.monotonic() - began)

    def _all(self, snapshot: Snapshot) -> list[Metric]:
        return [
            *_daemon(snapshot),
            *_queue(snapshot),
            *_holds(snapshot),
            *self._totals(snapshot),
            *(_run(snapshot.run) if snapshot.run is not None else ()),
        ]

    # --- totals -----------------------------------------------------------------------------

    def _totals(self, snapshot: Snapshot) -> Iterator[Metric]:
        counters = dict(snapshot.counters)
        if snapshot.run is not None:
            # A run that has only begun has totals of 0, so that rates see its first step.
            counters.setdefault(snapshot.run.name, {})
        for name, metric, text in _TOTALS:
            family = _counter(metric, text, ("run",))
            for run, totals in counters.items():
                family.put((run,), self._never_less(metric, run, "", totals.get(name, 0.0)))
            yield family
        yield self._restarts(counters)
        yield self._energy(counters)

    def _restarts(self, counters: dict[str, dict[str, float]]) -> Metric:
        family = _counter(
            "trainer_restarts", "Lives of the trainer that ended early.", ("run", "reason")
        )
        for run, totals in counters.items():
            for end in AttemptEnd:
                if end in (AttemptEnd.FINISHED, AttemptEnd.STOPPED):
                    continue
                total = totals.get(f"restarts_{end.value}", 0.0)
                family.put((run, end.value), self._never_less("restarts", run, end.value, total))
        return family

    def _energy(self, counters: dict[str, dict[str, float]]) -> Metric:
        family = _counter("energy_joules", "Energy used, by how it is known.", ("run", "source"))
        for run, totals in counters.items():
            if "energy_joules" not in totals:
                continue
            estimated = totals.get("energy_estimated_joules", 0.0)
            # Rounded, because a difference of sums wavers in its last digits.
            measured = round(totals.get("energy_joules", 0.0) - estimated, 1)
            for source, total in (("measured", measured), ("estimated", estimated)):
                family.put((run, source), self._never_less("energy", run, source, total))
        return family

    def _never_less(self, metric: str, run: str, label: str, total: float) -> float:
        """The total, or the highest one shown so far: a counter that falls reads as a restart."""
        key = (metric, run, label)
        self._highest[key] = max(total, self._highest.get(key, 0.0))
        return self._highest[key]


# --- one function a topic -------------------------------------------------------------------


def _daemon(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("snapshot_timestamp_seconds", "When the values were gathered.").put(
        (), snapshot.time.timestamp()
    )
    yield _one_of(
        "engine_state",
        "1 for the state that the engine is in.",
        "state",
        ENGINE_STATES,
        snapshot.daemon.engine_state,
        (),
    )
    yield _one_of(
        "setpoint_effect",
        "1 for what all holds add up to.",
        "effect",
        [effect.value for effect in Effect],
        snapshot.setpoint.effect.value,
        (),
    )


def _queue(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("queue_runs", "Runs that wait for their turn.").put((), len(snapshot.queue))
    states = [(item.name, RunState.QUEUED) for item in snapshot.queue]
    if snapshot.run is not None:
        states.append((snapshot.run.name, snapshot.run.state))
    family = _gauge("run_state", "1 for the state that a run is in.", ("run", "state"))
    for name, current in states:
        for state in RunState:
            family.put((name, state.value), state is current)
    yield family


def _holds(snapshot: Snapshot) -> Iterator[Metric]:
    active = _gauge("hold_active", "1 while a run is held for this reason.", ("run", "reason"))
    until = _gauge(
        "hold_until_timestamp_seconds", "When a hold ends, where that is known.", ("run", "reason")
    )
    runs = {snapshot.run.name if snapshot.run else ""}
    runs |= {hold.run for hold in snapshot.holds if hold.run is not None}
    for run in sorted(runs):
        mine = [hold for hold in snapshot.holds if hold.run in (None, run)]
        for reason in Reason:
            these = [hold for hold in mine if hold.reason is reason]
            active.put((run, reason.value), bool(these))
            until.put((run, reason.value), _timestamp(_last_end(these)))
    yield active
    yield until


def _last_end(holds: list[Hold]) -> datetime | None:
    ends = [hold.until for hold in holds if hold.until is not None]
    return max(ends) if ends and len(ends) == len(holds) else None


def _run(run: RunView) -> Iterator[Metric]:
    mine = (run.name,)
    yield _gauge("run_info", "The active run.", ("run", "attempt", "peak_source")).put(
        (run.name, "" if run.attempt is None else str(run.attempt), run.peak_source), 1
    )
    yield _one_of(
        "train_phase", "1 for what the trainer does.", "phase", PHASES, run.phase, ("run",), mine
    )
    for name, text, value in _values_of(run):
        yield _gauge(name, text, ("run",)).put(mine, value)
    yield _gauge("power_watts", "Power drawn now, by how it is known.", ("run", "source")).put(
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
    yield "eta_timestamp_seconds", "When the run will be finished.", _timestamp(run.eta)
    saved = run.checkpoint
    if saved is not None:
        name = "checkpoint_last_success_timestamp_seconds"
        yield name, "When the newest checkpoint was committed.", saved.time.timestamp()
        yield "checkpoint_last_step", "Step of the newest checkpoint.", saved.step
        yield "checkpoint_bytes", "Size of the newest checkpoint.", saved.size_bytes


# --- families that leave out what is unknown ------------------------------------------------


class _Gauge(GaugeMetricFamily):
    def put(self, labels: tuple[str, ...], value: float | None) -> _Gauge:
        """Add a sample unless its value is unknown."""
        if value is not None:
            self.add_metric(labels, float(value))
        return self


class _Counter(CounterMetricFamily):
    def put(self, labels: tuple[str, ...], value: float) -> _Counter:
        """Add a total."""
        self.add_metric(labels, float(value))
        return self


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> _Gauge:
    return _Gauge(f"homerun_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...] = ()) -> _Counter:
    return _Counter(f"homerun_{name}", text, labels=labels)


def _one_of(
    name: str,
    text: str,
    label: str,
    choices: Iterable[str],
    current: str,
    others: tuple[str, ...],
    values: tuple[str, ...] = (),
) -> Metric:
    """A 0/1 series for each choice; one that we do not know gets a series of its own."""
    family = _gauge(name, text, (*others, label))
    for choice in dict.fromkeys((*choices, current)):
        family.put((*values, choice), choice == current)
    return family


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _build_info() -> Metric:
    labels = ("version", "python", "torch", "ray")
    values = (VERSION, platform.python_version(), _installed("torch"), _installed("ray"))
    return _gauge("build_info", "What runs here.", labels).put(values, 1)


def _installed(package: str) -> str:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
