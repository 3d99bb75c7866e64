"""The figures that the fake backend shows."""

from __future__ import annotations

import dataclasses
import math
import os
import random
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator import step_times
from orchestrator.domain import DaemonView, Power, Run, RunState, RunView, Sample
from orchestrator.home.gpu import GpuReading
from orchestrator.home.ups import UpsReading
from orchestrator.home.volumes import Volume
from orchestrator.ledger.entry import MICROJOULES_PER_KWH, Entry, Stretch
from orchestrator.ledger.split import split
from orchestrator.surroundings import GpuView, ReloadView, Surroundings, UpsView
from orchestrator.tariff.slots import PriceSlot, Source
from orchestrator.tariff.table import TariffConfig
from orchestrator.version import VERSION
from trainer.contract import spec as run_spec

STEPS = 5_000
STEP_SECONDS = 2.0
BATCH_TOKENS = 16_384
_EVAL_EVERY = 250
TARIFF = TariffConfig(currency="EUR", price_per_kwh=Decimal("0.31"))


def run_of(name: str, state: RunState, now: datetime) -> Run:
    done = state is RunState.FINISHED
    return Run(
        name=name,
        state=state,
        priority=0,
        created=now - timedelta(hours=3),
        spec=dataclasses.asdict(run_spec.RunSpec(name=name)),
        spec_digest="f0" * 32,
        finished=now - timedelta(hours=1) if done else None,
        steps=STEPS,
        parameters=3_145_728,
        bits_per_byte_before=3.21 if done else None,
        bits_per_byte=1.384 if done else None,
        sample="def read(self, size=-1):\n    return self._file.read(size)" if done else None,
        model_path="/var/lib/homerun/runs/first/checkpoints" if done else None,
    )


def ledger_rows(now: datetime) -> list[Entry]:
    """Two days of an hour each, the second one without a meter, and one quiet hour."""
    rows = []
    for days, run, kwh, measured in (
        (2, "first", 1, True),
        (1, "evening", 2, False),
        (0, None, 1, True),
    ):
        start = now - timedelta(days=days, hours=1)
        energy = kwh * MICROJOULES_PER_KWH // 10
        source = "nvml" if measured else "estimated"
        tokens = 2_000_000 if run else 0
        stretch = Stretch(run, start, start + timedelta(hours=1), energy, source, measured, tokens)
        assert TARIFF.price_per_kwh is not None, "it is fixed"
        slot = PriceSlot(start, stretch.end, TARIFF.price_per_kwh, Source.FIXED)
        rows += split(stretch, [slot], TARIFF.currency, "fake")
    return rows


def daemon_view(started: datetime) -> DaemonView:
    return DaemonView(
        pid=os.getpid(),
        version=VERSION,
        started=started,
        state_dir="/var/lib/homerun",
        address="http://127.0.0.1:8420",
        engine="ray",
        engine_state="ready",
    )


def view_of(run: Run, step: int) -> RunView:
    return RunView(
        name=run.name,
        state=run.state,
        phase="train",
        phase_detail="",
        phase_fraction=None,
        attempt=3,
        trainer_pid=4242,
        parameters=run.parameters,
        step=step,
        steps=STEPS,
        micro=3,
        micro_batches=8,
        tokens=0,
        epoch=0.0,
        loss=None,
        bits_per_byte=None,
        bits_per_byte_before=3.21,
        tokens_per_second=BATCH_TOKENS / STEP_SECONDS,
        mfu=0.413,
        peak_source="matmul measured on this CPU",
        step_seconds=STEP_SECONDS,
        gradient_norm=0.82,
        lr_multiplier=1.0,
        progress=0.0,
        eta=None,
        power=Power(118.0, "estimated", measured=False),
        energy_joules=0.0,
        energy_measured=False,
        active_seconds=0.0,
        lost_steps=0,
        restarts=1,
        checkpoint=None,
        next_start=None,
        unsaved_seconds=90 * STEP_SECONDS,
        checkpoint_every_seconds=600.0,
    )


def loss_of(step: int) -> float:
    """A curve that falls like a real one, with its noise, the same each time."""
    trend = 2.55 + 6.4 * math.pow(1.0 + step / 60.0, -0.8)
    noise = random.Random(step).gauss(0.0, 0.05)  # noqa: S311 - noise, no secret
    return trend + noise * (1.0 + 3.0 / (1.0 + step / 40.0))


def sample_of(step: int, time: datetime) -> Sample:
    evaluated = (loss_of(step) - 0.05) / 3.1 if step % _EVAL_EVERY == 0 else None
    return Sample(step, time, loss_of(step), BATCH_TOKENS / STEP_SECONDS, evaluated, 118.0)


def step_totals() -> dict[str, float]:
    """What one step adds to the totals."""
    return {
        "steps": 1.0,
        "tokens": float(BATCH_TOKENS),
        "active_seconds": STEP_SECONDS,
        "energy_joules": 118.0 * STEP_SECONDS,
        "energy_estimated_joules": 118.0 * STEP_SECONDS,
        **step_times.totals_of(STEP_SECONDS),
        "phase_seconds_data": 0.02 * STEP_SECONDS,
        "phase_seconds_compute": 0.9 * STEP_SECONDS,
        "phase_seconds_optimizer": 0.08 * STEP_SECONDS,
    }


def surroundings_at(now: datetime) -> Surroundings:
    """A card at work, a UPS on mains, half a disk, and some messages."""
    reading = UpsReading(
        on_battery=False, charge_ratio=1.0, runtime_seconds=1_740.0, load_watts=162.0
    )
    return Surroundings(
        volumes=(Volume("state", 412_000_000_000, 983_000_000_000),),
        ups=UpsView(reading, now - timedelta(seconds=2)),
        gpu=GpuView(GpuReading(118.0, 61.0, 1.7e9, 200.0), processes=2),
        messages={"sent": 4, "failed": 0},
        reload=ReloadView(True, now - timedelta(hours=3), ""),
        xids={13: 1},
    )
