"""The navigator: one pilot for the run whose turn it is, towards what a person wants of its plan.

A chore calls ``consider``, which may plan; the tick calls ``look``, which only reads. Whatever
fails in here, the run goes on: without a plan nothing holds it, and a plan that nobody has looked
after for a while holds nothing either.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain import Effect, Hold, PlanView, Power, RunView, Snapshot
from orchestrator.holds.senses import Moment
from orchestrator.home.clock import Clock
from orchestrator.piloting.goals import GoalKind, RunGoal
from orchestrator.piloting.helm import DATELESS, Helm, is_usual
from orchestrator.piloting.navigator_report import curve_report, schedule_report
from orchestrator.piloting.pilot import Pilot, Running
from orchestrator.piloting.schedule_report import CurveReport, ScheduleReport
from orchestrator.planning.measured import Measured, Reading
from orchestrator.planning.online import Mode
from orchestrator.power.gear import CARD_METERS
from orchestrator.power.profiler import LevelResult
from orchestrator.power.speedometer import LOADED, Speedometer
from orchestrator.store import Store, StoreFailed

log = logging.getLogger(__name__)

#: a plan that nobody has looked after for so long holds nothing any more
_STALE_SECONDS = 3600.0
#: how often the measured levels are written down
_KEEP_SECONDS = 600.0
#: after this a pause's power is that of a pause
_SETTLE_SECONDS = 60.0
_MEASURING = "its speed is measured first"


class Navigator:
    """See the module. ``look``, ``view`` and the reports may be called from any thread."""

    def __init__(self, store: Store, helm: Helm, clock: Clock) -> None:
        self._store, self._helm, self._clock = store, helm, clock
        self._lock = threading.RLock()
        self._run: str | None = None
        self._goal: RunGoal | None = None
        self._pilot: Pilot | None = None
        self._speed = Speedometer(1)
        self._measured = Measured.of(helm.gear.levels)
        self._batch_tokens = 1
        self._remark = ""
        #: of the whole machine while the run waits, where its meter sees all of it
        self._idle_watts: float | None = None
        self._idle_since: float | None = None
        self._dirty = True
        self._lessons: list[tuple[str, tuple[LevelResult, ...], str]] = []
        self._looked_after: float | None = None
        self._kept_at = clock.monotonic()
        self._snapshot: Snapshot | None = None

    def touch(self) -> None:
        """A goal has changed: it is read again at the next look."""
        self._dirty = True

    def learn(self, run: str, results: Sequence[LevelResult], source: str) -> None:
        """Take in, at the next look, what a profile of ``run`` has found; never waits."""
        self._lessons.append((run, tuple(results), source))

    # --- the chore --------------------------------------------------------------------------

    def consider(self, snapshot: Snapshot) -> str:
        """Measure, and plan again if there is a reason to. News in words, mostly none: ""."""
        with self._lock:
            self._snapshot = snapshot
            try:
                news = self._consider(snapshot)
            except StoreFailed as error:
                self._remark = f"the store fails: {error.message}"
                return ""
            except Exception:
                # A mistake of ours must cost money at most: without a plan the run goes on.
                log.exception("the plan is dropped")
                self._pilot, self._dirty = None, True
                self._remark = "planning failed; the daemon's log tells why"
                return ""
            self._looked_after = self._clock.monotonic()
            return news

    def _consider(self, snapshot: Snapshot) -> str:
        run = snapshot.run
        if run is None:
            self._run, self._goal, self._pilot, self._remark = None, None, None, "no run is active"
            return ""
        if run.name != self._run or self._dirty:
            self._take_up(run.name)
        self._measure(snapshot, run)
        self._heed(run)
        left = self._work_left(run)
        if self._goal is None or self._goal.kind is GoalKind.OFF:
            self._remark = "no goal is set, so it runs whenever nothing holds it"
            return ""
        if left is None:
            self._remark = _MEASURING
            return ""
        if self._pilot is None or self._looks_too_short(self._pilot, self._goal):
            self._pilot = self._begin(run, self._goal)
        self._helm.holds = snapshot.holds
        # A duty cycle's pauses, which nothing holds, are running.
        held = snapshot.setpoint.effect not in (Effect.RUN, Effect.CAP)
        on = run.attempt is not None and not (held and run.phase == "paused")
        running = Running(left, on, run.phase in LOADED)
        news = self._pilot.consider(self._clock.now(), running)
        self._explain(self._pilot, news)
        return news

    def _take_up(self, name: str) -> None:
        """Another run, or another goal of the same one."""
        self._dirty = False
        with self._store.transaction() as tx:
            run, goal, seen = tx.runs.get(name), tx.goals.of(name), tx.goals.readings(name)
        spec = run.spec if run else {}
        batch = int(spec.get("train", {}).get("batch_tokens", 1))
        if name != self._run:
            self._batch_tokens, self._speed = batch, Speedometer(batch)
            self._measured = self._known_before(seen)
        usual = self._helm.usual
        if goal is None or (goal.usual and not is_usual(goal, usual)):
            goal = RunGoal(
                name,
                usual.kind,
                self._clock.now(),
                usual.deadline,
                usual.slack,
                usual.money,
                usual=True,
            )
        self._goal = goal
        self._run, self._pilot = name, None

    def _known_before(self, seen: list[Reading]) -> Measured:
        levels = self._helm.gear.levels
        known = [item for item in seen if any(lv.limit_watts == item.limit_watts for lv in levels)]
        if not known:
            return Measured.of(levels)
        rates = {level.limit_watts: level.rate for level in levels}
        best = max(known, key=lambda item: rates[item.limit_watts])
        return Measured.again(levels, known, best.tokens_per_second / rates[best.limit_watts])

    # --- measuring --------------------------------------------------------------------------

    def _measure(self, snapshot: Snapshot, run: RunView) -> None:
        limit = self._limit(snapshot)
        self._see_idle(run)
        reading = self._speed.look(snapshot, limit)
        if reading is not None:
            watts = self._counted_watts(reading.wall_watts, run.power)
            self._observe(replace(reading, wall_watts=watts))
            return
        unknown = self._measured.full_tokens_per_second is None
        if unknown and run.tokens_per_second and self._speed.warm(run):
            # The trainer's own figure will do until a whole stretch has been measured.
            self._observe(Reading(limit, run.tokens_per_second, None, 1.0))

    def _see_idle(self, run: RunView) -> None:
        """What the machine draws while the run waits, once fans and averages have settled."""
        now = self._clock.monotonic()
        if run.attempt is not None and run.phase != "paused":
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= _SETTLE_SECONDS and run.power.measured:
            self._idle_watts = run.power.watts

    def _counted_watts(self, watts: float | None, meter: Power) -> float | None:
        """What running costs at the wall, by a meter's mean power; None while nobody can say.

        A machine that is on anyway counts only with what running adds, so a meter of all of it
        has to have seen it wait first. A model's word is no measurement.
        """
        source = meter.source
        if watts is None or not (meter.measured or source == "simulated"):
            return None
        if source in CARD_METERS or source == "rapl" or self._helm.on_for_the_run:
            return self._helm.gear.wall_watts(watts, source)
        return None if self._idle_watts is None else max(1.0, watts - self._idle_watts)

    def _observe(self, reading: Reading) -> None:
        first = self._measured.full_tokens_per_second is None
        self._measured = self._measured.fold(reading)
        if self._pilot is not None:
            self._pilot.observe(reading)
        now = self._clock.monotonic()
        if self._run and (first or now - self._kept_at >= _KEEP_SECONDS):
            self._kept_at = now
            with self._store.transaction() as tx:
                tx.goals.measured(self._run, self._measured.readings())

    def _heed(self, run: RunView) -> None:
        """A profile knows the levels' relation; how fast full power is, whole steps tell."""
        full = self._measured.full_tokens_per_second or run.tokens_per_second
        if not self._lessons or not full:
            return
        lessons, self._lessons = self._lessons, []
        for name, results, source in lessons:
            for item in results if name == run.name else ():
                measured = source == run.power.source and run.power.measured
                meter = Power(item.watts, source, measured or source == "nvml")
                watts = self._counted_watts(item.watts, meter)
                speed = item.relative_speed * full
                self._observe(Reading(item.limit_watts, speed, watts, item.seconds))
        with self._store.transaction() as tx:
            tx.goals.measured(run.name, self._measured.readings())

    def _limit(self, snapshot: Snapshot) -> float | None:
        """The level in force, by the nearest of the levels."""
        full = self._helm.gear.full_watts
        if full is None:
            return None
        wanted = snapshot.setpoint.cap_watts or full
        limits = [lv.limit_watts for lv in self._helm.gear.levels if lv.limit_watts is not None]
        return min(limits, key=lambda limit: abs(limit - wanted))

    # --- planning ---------------------------------------------------------------------------

    def _tokens_left(self, run: RunView) -> int | None:
        if run.steps is None:
            return None
        return max(0, run.steps - run.step) * self._batch_tokens

    def _work_left(self, run: RunView) -> float | None:
        """In hours at full speed; None until the speed is known."""
        full, tokens = self._measured.full_tokens_per_second, self._tokens_left(run)
        return None if not full or tokens is None else tokens / full / 3600.0

    def _begin(self, run: RunView, goal: RunGoal) -> Pilot:
        full, tokens = self._measured.full_tokens_per_second, self._tokens_left(run)
        assert full is not None, "the work that is left is known"
        assert tokens is not None, "the work that is left is known"
        if goal.tokens_left is None:
            goal = self._settled(goal, tokens, tokens / full)
        work_hours = (goal.tokens_left or tokens) / full / 3600.0
        return self._helm.pilot(goal, work_hours, self._measured, run, self._clock.now())

    def _looks_too_short(self, pilot: Pilot, goal: RunGoal) -> bool:
        """A wish without a date looks ahead for weeks; half of that is gone."""
        looked = pilot.goal.deadline - pilot.goal.start
        gone = self._clock.now() - pilot.goal.start
        return goal.kind in DATELESS and gone > looked / 2

    def _settled(self, goal: RunGoal, tokens: int, seconds: float) -> RunGoal:
        """The goal with where it began, and with its date where that follows only now."""
        now = self._clock.now()
        deadline = goal.deadline
        if goal.kind is GoalKind.SLACK and goal.slack is not None:
            deadline = now + timedelta(seconds=seconds * (1.0 + goal.slack))
        settled = replace(goal, since=now, tokens_left=tokens, deadline=deadline)
        with self._store.transaction() as tx:
            self._goal = tx.goals.put(settled)
        return settled

    def _explain(self, pilot: Pilot, news: str) -> None:
        if news:
            self._remark = news
        elif pilot.incumbent is None:
            late = self._clock.now() >= pilot.goal.deadline
            self._remark = "the deadline has passed: full power" if late else "nothing to plan"

    # --- the sense --------------------------------------------------------------------------

    def look(self, moment: Moment) -> tuple[Hold, ...]:
        """See ``Sense.look``: what the plan wants now."""
        pilot, cared = self._pilot, self._looked_after
        if pilot is None or moment.run is None or moment.run != self._run or cared is None:
            return ()
        if moment.monotonic_seconds - cared > _STALE_SECONDS:
            return ()
        return tuple(
            hold
            for hold in pilot.look(moment)
            if hold.effect is not Effect.CAP or self._helm.gear.full_watts is not None
        )

    # --- readers ----------------------------------------------------------------------------

    def view(self) -> PlanView | None:
        """The plan in short, for the snapshot; None before the first look."""
        goal, pilot = self._goal, self._pilot
        if goal is None:
            return None
        now, incumbent = self._clock.now(), pilot.incumbent if pilot else None
        plan = incumbent.plan if incumbent else None
        part = plan.part_at(now) if plan else None
        return PlanView(
            goal=goal.kind.value,
            mode=incumbent.mode.value if incumbent else "",
            made=incumbent.made if incumbent else None,
            remark=self._remark,
            deadline=goal.deadline,
            finish=plan.finish if plan else None,
            next_change=pilot.next_change(now) if pilot else None,
            currency=self._helm.currency,
            cost=plan.cost if plan else None,
            energy_kwh=plan.kilowatt_hours if plan else None,
            gap_ratio=plan.gap if plan and incumbent and incumbent.mode is Mode.CHEAPEST else None,
            forecast=part is not None and not part.known,
        )

    def schedule(self, snapshot: Snapshot, hours: int) -> ScheduleReport:
        """What it does in the next hours, and why."""
        now = self._clock.now()
        prices = self._helm.prices_between(now, now + timedelta(hours=hours))
        pilot, view = self._pilot, self.view()
        return schedule_report(snapshot, now, hours, prices, pilot, view, self._helm)

    def curve(self, snapshot: Snapshot) -> CurveReport:
        """What each finish date would cost."""
        with self._lock:
            run, goal = snapshot.run, self._goal
            left = self._work_left(run) if run is not None and run.name == self._run else None
            measured, remark = self._measured, self._remark
        now = self._clock.now()
        if run is None or not left:
            text = remark if left is None else "the work is done"
            return CurveReport(now, run.name if run else None, self._helm.currency, None, (), text)
        deadline: datetime | None = goal.deadline if goal else None
        return curve_report(run, now, left, deadline, measured, self._helm, snapshot.holds)
