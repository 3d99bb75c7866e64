"""Totals of the runs as counters. They come from the store and never fall, not even here."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from orchestrator.domain import AttemptEnd, Reason, Snapshot
from orchestrator.step_times import histogram
from orchestrator.web.families import counter

#: counter in the snapshot, metric, help
_TOTALS = (
    ("steps", "train_steps", "Optimizer steps done, repeated ones included."),
    ("tokens", "train_tokens", "Tokens trained on, repeated ones included."),
    ("lost_steps", "train_lost_steps", "Steps done again because they were not saved."),
    ("rollbacks", "train_rollbacks", "Times that training went back because it diverged."),
    ("nonfinite_steps", "train_nonfinite_steps", "Steps left out: loss or gradient not finite."),
    ("loss_spikes", "train_loss_spikes", "Steps whose loss or gradient was out of proportion."),
    ("sentinel_checks", "sentinel_checks", "Micro-batches computed twice and compared."),
    ("sentinel_mismatches", "sentinel_mismatches", "Of these, those with different bits."),
    ("active_seconds", "active_seconds", "Seconds in which the run was computing."),
    ("checkpoints", "checkpoints", "Checkpoints committed."),
    ("checkpoint_failures", "checkpoint_failures", "Checkpoints that could not be saved."),
    ("damaged_checkpoints", "checkpoints_damaged", "Checkpoints set aside as damaged."),
    ("mirrored", "mirror_copies", "Checkpoints copied to the mirror and read back there."),
    ("mirror_failures", "mirror_failures", "Copies to the mirror that failed."),
    ("outages", "outages", "Gaps in the daemon's life that cut into the run."),
    ("outage_seconds", "outage_seconds", "Seconds lost in outages."),
    ("commands", "commands", "Commands that people and programs gave."),
)
_PHASES = ("data", "compute", "optimizer", "sentinel", "eval", "checkpoint")

RunTotals = dict[str, dict[str, float]]


class Totals:
    """Remembers the highest total shown: a counter that falls reads as a restart."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str, str], float] = {}

    def of(self, snapshot: Snapshot) -> Iterator[Metric]:
        """All counters of all runs that have any."""
        runs = dict(snapshot.counters)
        if snapshot.run is not None:
            # A run that has only begun has totals of 0, so that rates see its first step.
            runs.setdefault(snapshot.run.name, {})
        for name, metric, text in _TOTALS:
            family = counter(metric, text, ("run",))
            for run, totals in runs.items():
                family.put((run,), self._never_less(metric, run, "", totals.get(name, 0.0)))
            yield family
        yield self._split(
            runs,
            ("hold_seconds", "Seconds held, by reason; reasons overlap.", "reason"),
            [(reason.value, f"held_seconds_{reason.value}") for reason in Reason],
        )
        yield self._split(
            runs,
            ("train_phase_seconds", "Seconds of the trainer, by what it did.", "phase"),
            [(phase, f"phase_seconds_{phase}") for phase in _PHASES],
        )
        yield self._split(
            runs,
            ("trainer_restarts", "Lives of the trainer that ended early.", "reason"),
            [
                (end.value, f"restarts_{end.value}")
                for end in AttemptEnd
                if end not in (AttemptEnd.FINISHED, AttemptEnd.STOPPED)
            ],
        )
        yield self._energy(runs)
        yield self._step_times(runs)

    def _split(
        self, runs: RunTotals, words: tuple[str, str, str], parts: list[tuple[str, str]]
    ) -> Metric:
        """One counter from several totals: ``parts`` are label values and names of totals."""
        metric, text, label = words
        family = counter(metric, text, ("run", label))
        for run, totals in runs.items():
            for value, name in parts:
                total = self._never_less(metric, run, value, totals.get(name, 0.0))
                family.put((run, value), total)
        return family

    def _energy(self, runs: RunTotals) -> Metric:
        family = counter("energy_joules", "Energy used, by how it is known.", ("run", "source"))
        for run, totals in runs.items():
            if "energy_joules" not in totals:
                continue
            estimated = totals.get("energy_estimated_joules", 0.0)
            # Rounded, because a difference of sums wavers in its last digits.
            measured = round(totals.get("energy_joules", 0.0) - estimated, 1)
            for source, total in (("measured", measured), ("estimated", estimated)):
                family.put((run, source), self._never_less("energy", run, source, total))
        return family

    def _step_times(self, runs: RunTotals) -> Metric:
        name = "homerun_train_step_duration_seconds"
        family = HistogramMetricFamily(name, "Seconds that a step took to compute.", labels=["run"])
        for run, totals in runs.items():
            buckets, seconds = histogram(totals)
            kept = [(end, self._never_less(name, run, end, count)) for end, count in buckets]
            family.add_metric([run], kept, self._never_less(name, run, "sum", seconds))
        return family

    def _never_less(self, metric: str, run: str, label: str, total: float) -> float:
        key = (metric, run, label)
        self._highest[key] = max(total, self._highest.get(key, 0.0))
        return self._highest[key]
