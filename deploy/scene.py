"""A made-up household for the README's pictures: two weeks into a run, on invented prices.

The plan on them is the real planner's, and so are the ledger's sums; nothing here is a measurement.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property

from orchestrator.domain import (
    Bill,
    Checkpoint,
    CheckpointView,
    Effect,
    Hold,
    JournalEntry,
    Power,
    QueueItem,
    Reason,
    Run,
    RunState,
    Sample,
    Setpoint,
    Snapshot,
)
from orchestrator.headline import headline
from orchestrator.home.clock import FakeClock
from orchestrator.home.gpu import GpuReading
from orchestrator.ledger.entry import Entry, Stretch
from orchestrator.ledger.split import split
from orchestrator.ledger.summary import By, EnergySummary, summarize
from orchestrator.piloting.schedule_report import (
    CurveReport,
    ScheduleReport,
    always_on_cost,
    curve_dates,
    next_change,
    planned_slots,
)
from orchestrator.planning import schedule
from orchestrator.planning.levels import assumed_levels
from orchestrator.planning.online import Incumbent, Mode, Why
from orchestrator.planning.picture import advice
from orchestrator.planning.problem import Machine, Pause, Problem, Slot, Standing
from orchestrator.surroundings import GpuView, Surroundings
from orchestrator.tariff.slots import PriceSlot
from orchestrator.web.fake import FakeBackend
from orchestrator.web.fake_figures import run_of, surroundings_at
from trainer.checkpoint.retention import Candidate, Choice, Policy, choose

HOUR = timedelta(hours=1)
NAME, STEP, STEPS, STEP_SECONDS = "winter-d20", 41_208, 71_680, 20.2
BATCH_TOKENS, FULL_WATTS, IDLE_WATTS = 131_072, 200.0, 11.0
RUNNING_DAYS, PLANNED_DAYS, PUBLISHED_HOURS = 15, 13, 42
#: a morning in December: dear until the day has begun
MORNING = datetime(2026, 12, 3, 5, 47, tzinfo=UTC)
NIGHT = datetime(2026, 12, 3, 2, 20, tzinfo=UTC)


def price(hour: datetime) -> float:
    """Dear in the morning and in the evening, cheap at night, and each day a little different."""
    day = random.Random(hour.toordinal())
    level, wind = day.gauss(0.315, 0.02), day.uniform(0.6, 1.25)
    clock = (hour + HOUR).hour
    morning = math.exp(-((clock - 7.5) ** 2) / 5.0)
    evening = math.exp(-((clock - 18.5) ** 2) / 7.0)
    night = math.exp(-(min(abs(clock - 3), abs(clock - 27)) ** 2) / 8.0)
    noon = math.exp(-((clock - 13) ** 2) / 6.0)
    return round(level + wind * (0.10 * morning + 0.13 * evening - 0.09 * night - 0.06 * noon), 4)


class Scene(FakeBackend):
    """The household at one moment, standing still."""

    def __init__(self, now: datetime) -> None:
        # first: the fake asks for its plan while it is built
        self.now = now
        self.clock = FakeClock(now - 24 * HOUR)
        super().__init__(self.clock, step=10)
        self._rng = random.Random(20)
        others = (("d12-wide", RunState.QUEUED, 5), ("spring-d26", RunState.QUEUED, 0))
        runs = [run_of(NAME, RunState.ACTIVE, now)]
        runs += [replace(run_of(name, state, now), priority=rank) for name, state, rank in others]
        runs.append(
            replace(
                run_of("autumn-d12", RunState.FINISHED, now),
                bits_per_byte_before=3.31,
                bits_per_byte=0.957,
                sample="The sky is blue because the air scatters short waves more than long ones.",
                model_path="/var/lib/homerun/runs/autumn-d12/checkpoints",
            )
        )
        self._runs = {run.name: run for run in runs}

    # --- the plan ---------------------------------------------------------------------------

    @cached_property
    def _problem(self) -> Problem:
        start = self.now.replace(minute=0, second=0, microsecond=0)
        hours = [start + n * HOUR for n in range(24 * PLANNED_DAYS)]
        reach = start + PUBLISHED_HOURS * HOUR
        slots = tuple(Slot(at, at + HOUR, price(at), at < reach) for at in hours)
        pauses = (Pause("pause", 15.0, 0.0), Pause("release", 0.0, 180.0))
        machine = Machine(assumed_levels(100.0, FULL_WATTS), pauses)
        return Problem(slots, machine, self.work_hours, Standing(on=False))

    work_hours = (STEPS - STEP) * STEP_SECONDS / 3600

    @cached_property
    def _report(self) -> ScheduleReport:
        problem = self._problem
        plan = schedule.by_deadline(problem)
        known = problem.slots[0].start + PUBLISHED_HOURS * HOUR
        incumbent = Incumbent(plan, Mode.CHEAPEST, self.now, known, self.work_hours, Why.FIRST)
        slots = planned_slots(incumbent, self.now, self.now + 48 * HOUR, "EUR", FULL_WATTS)
        return ScheduleReport(
            time=self.now, run=NAME, goal="deadline", mode=Mode.CHEAPEST.value, made=self.now,
            remark="", currency="EUR", known_until=known, next_change=next_change(slots),
            deadline=problem.slots[-1].end, finish=plan.finish, cost=plan.cost,
            energy_kwh=plan.kilowatt_hours, gap_ratio=plan.gap,
            always_on_cost=always_on_cost(plan, self.work_hours), slots=tuple(slots),
        )  # fmt: skip

    def schedule(self, hours: int) -> ScheduleReport:
        return self._report

    @cached_property
    def _curve(self) -> CurveReport:
        points = schedule.curve(self._problem)
        deadline = self._problem.slots[-1].end
        said = advice(points, "EUR")
        return CurveReport(self.now, NAME, "EUR", deadline, curve_dates(points), said)

    def schedule_curve(self) -> CurveReport:
        return self._curve

    # --- the past ---------------------------------------------------------------------------

    def ran(self, hour: datetime) -> bool:
        """Whether it trained in an hour that is over."""
        return price(hour) < 0.315

    @cached_property
    def _hours(self) -> list[datetime]:
        first = self.now.replace(minute=0, second=0, microsecond=0) - 24 * RUNNING_DAYS * HOUR
        return [first + n * HOUR for n in range(24 * RUNNING_DAYS)]

    def samples(self, run: str, limit: int) -> list[Sample]:
        if run != NAME:
            return []
        busy = [hour for hour in self._hours if self.ran(hour)]
        return list(self._points(busy, limit))

    def _points(self, busy: list[datetime], count: int) -> Iterator[Sample]:
        noise = random.Random(1)
        for n in range(count):
            place = n / (count - 1) * (len(busy) - 1e-6)
            hour = busy[int(place)]
            step = 1 + round((STEP - 1) * n / (count - 1))
            speed = BATCH_TOKENS / STEP_SECONDS * (0.93 if price(hour) > 0.28 else 1.0)
            yield Sample(
                step=step,
                time=hour + HOUR * (place % 1),
                loss=loss(step) + noise.gauss(0.0, 0.035),
                tokens_per_second=speed * (1 + noise.gauss(0.0, 0.004)),
                watts=FULL_WATTS,
            )

    def scores(self, run: str) -> dict[int, float]:
        if run != NAME:
            return {}
        return {step: loss(step) / math.log(2) / 4.75 for step in range(1000, STEP, 1000)}

    def surroundings(self) -> Surroundings:
        at = self._clock.now()
        on = self.ran(at.replace(minute=0, second=0, microsecond=0))
        wobble = self._rng.gauss(0.0, 1.0)
        # Warm iron: the temperature follows in some minutes.
        part = min(1.0, (at.minute + at.second / 60) / 12)
        before = self.ran(at.replace(minute=0, second=0, microsecond=0) - HOUR)
        warm = (66.0 if on else 38.0) * part + (66.0 if before else 38.0) * (1 - part)
        dear = price(at.replace(minute=0, second=0, microsecond=0)) > 0.28
        watts = (152.0 if dear else 186.0) + 2 * wobble if on else IDLE_WATTS + 0.2 * wobble
        limit = 160.0 if on and dear else FULL_WATTS
        if at >= self.now - timedelta(minutes=3):
            limit = self._report.slots[0].cap_watts or FULL_WATTS
        reading = GpuReading(watts, round(warm + 0.4 * wobble, 1), None, limit)
        return replace(surroundings_at(at), gpu=GpuView(reading, 1))

    def energy(self, by: By) -> EnergySummary:
        rows: list[Entry] = []
        for hour in self._hours:
            if self.ran(hour):
                watts = 152 if price(hour) > 0.28 else 186
                tokens = int(3600 / STEP_SECONDS * BATCH_TOKENS)
                stretch = Stretch(
                    NAME, hour, hour + HOUR, watts * 3_600_000_000, "nvml", True, tokens
                )
                slot = PriceSlot(hour, hour + HOUR, Decimal(str(price(hour))))
                rows += split(stretch, [slot], "EUR", "scene")
        slots = [PriceSlot(h, h + HOUR, Decimal(str(price(h)))) for h in self._hours]
        fill = lambda start, end: tuple(s for s in slots if s.end > start and s.start < end)  # noqa: E731
        return summarize(rows, by, UTC, self.now, fill)

    # --- what lies there --------------------------------------------------------------------

    def checkpoints(self, run: str | None) -> list[Checkpoint]:
        if run not in (None, NAME):
            return []
        busy = [hour for hour in self._hours if self.ran(hour)]
        steps = ((STEP,) if self.waits else ()) + (40_960, 40_448, 39_936, 37_888, 32_768, 30_000)
        found = []
        for step in steps:
            when = busy[min(len(busy) - 1, int(step / STEP * len(busy)))] + 0.9 * HOUR
            if step == STEP:
                when = self.now - 0.7 * HOUR
            why = "pause" if step == STEP else "request" if step == 30_000 else "schedule"
            name = f"gen-{step:08d}-000009-5eed{step % 4096:04x}"
            found.append(Checkpoint(NAME, name, step, when, 7_920_000_000, 9, why))
        return found

    def plan_retention(self, run: str | None) -> list[Choice]:
        candidates = [
            Candidate(item.name, item.step, item.size_bytes, item.step == 30_000)
            for item in self.checkpoints(run)
        ]
        return choose(candidates, Policy())

    def journal(
        self, *, after: int = 0, limit: int = 100, run: str | None = None
    ) -> list[JournalEntry]:
        return [entry for entry in self._lines() if entry.id > after]

    def _lines(self) -> list[JournalEntry]:
        told = (
            (31.0, "info", "Validation at step 40,000: 0.8391 bits per byte."),
            (27.5, "info", "Prices until Friday 23:00 are published; the plan was made again."),
            (22.4, "warning", "The power was off for 11 min; nothing of the run was lost."),
            (22.3, "info", "Training goes on at step 40,447 of 71,680."),
            (14.2, "info", "Held by gpu_busy: a game; the memory is free."),
            (11.6, "info", "The hold 'gpu_busy' ended; it goes on."),
            (4.0, "info", "Checkpoint at step 40,960: 7.92 GB in 9.1 s (schedule)."),
            (1.8, "info", "Validation at step 41,000: 0.8364 bits per byte."),
        )
        if self.waits:
            told += ((0.7, "info", "Checkpoint at step 41,208: 7.92 GB in 9.0 s (pause)."),)
            told += ((0.7, "info", f"Held by tariff: {self.why}."),)
        return [
            JournalEntry(n + 1, self.now - back * HOUR, "note", text, severity, NAME)
            for n, (back, severity, text) in enumerate(told)
        ]

    # --- the moment -------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether the plan waits for a better price."""
        return self._report.slots[0].state.value == "off"

    @property
    def why(self) -> str:
        """The price, in words."""
        return f"{self._report.slots[0].price:.2f} EUR/kWh"

    def snapshot(self) -> Snapshot:
        return self._still

    def wait_for_change(self, seen: datetime | None, timeout_seconds: float) -> Snapshot:
        return self._still

    @cached_property
    def _still(self) -> Snapshot:
        before = super().snapshot()
        waits = self.waits
        until = self._report.next_change
        hold = Hold(
            Reason.TARIFF, Effect.PAUSE, "plan", self.now - 0.7 * HOUR, until,
            f"{self.why}" if waits else "",
        )  # fmt: skip
        holds = (hold,) if waits else ()
        setpoint = (
            Setpoint(Effect.PAUSE, None, (Reason.TARIFF,), until) if waits else Setpoint(Effect.RUN)
        )
        newest = self.checkpoints(NAME)[0]
        assert before.run is not None, "the fake backend has a run under way"
        watts = IDLE_WATTS if waits else (self._report.slots[0].cap_watts or 190.0) - 4.0
        view = replace(
            before.run,
            name=NAME, phase="paused" if waits else "train", attempt=9, parameters=561_000_000,
            step=STEP, steps=STEPS, micro=0 if waits else 21, micro_batches=32,
            tokens=STEP * BATCH_TOKENS, epoch=0.48, loss=loss(STEP) + 0.011,
            bits_per_byte=0.8364, bits_per_byte_before=3.302, mfu=0.412,
            tokens_per_second=BATCH_TOKENS / STEP_SECONDS, step_seconds=STEP_SECONDS,
            progress=STEP / STEPS, eta=None if waits else self._report.finish,
            power=Power(watts, "nvml", measured=True), energy_measured=True,
            energy_joules=float(self.energy(By.RUN).lines[0].kwh) * 3.6e6,
            checkpoint=CheckpointView(
                newest.name, newest.step, self.now - (0.7 if waits else 0.25) * HOUR,
                newest.size_bytes,
            ),
        )  # fmt: skip
        queue = tuple(
            QueueItem(run.name, run.priority)
            for run in self._runs.values()
            if run.state is RunState.QUEUED
        )
        return replace(
            before, time=self.now, headline=headline(self.now, view, setpoint, holds, len(queue)),
            setpoint=setpoint, holds=holds, run=view, queue=queue, journal=tuple(self._lines()),
            bills=(self._bill,),
        )  # fmt: skip

    @property
    def _bill(self) -> Bill:
        summary = self.energy(By.RUN)
        line, avoided = summary.lines[0], summary.avoided[0].avoided_cost
        return Bill(NAME, "EUR", line.costs[0].amount, line.kwh, avoided, None)

    def runs(self) -> list[Run]:
        return list(self._runs.values())


def loss(step: int) -> float:
    """In nats per token."""
    return 2.60 + 7.6 * (1 + step / 90) ** -0.62
