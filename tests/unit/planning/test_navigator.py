"""The navigator on a real supervisor and store: it measures, plans, holds, and stops no run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.home.clock import FakeClock
from orchestrator.piloting.charting import chart_of
from orchestrator.piloting.goals import Goal, GoalKind
from orchestrator.piloting.navigator import Navigator
from orchestrator.piloting.schedule_report import Doing
from orchestrator.planning.levels import assumed_levels
from orchestrator.power.gear import Gear
from orchestrator.power.profiler import LevelResult
from orchestrator.settings.config import Config
from orchestrator.tariff.http import FakeHttp, Reply
from orchestrator.tariff.keeper import PriceKeeper
from orchestrator.view import Figures
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

#: six dear hours from six in the morning on; UTC, so that hours are hours
TARIFF = {
    "currency": "EUR",
    "price_per_kwh": "0.20",
    "time_zone": "UTC",
    "zones": [{"price_per_kwh": "0.90", "hours": "6-12"}],
}
START = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
#: a step of the rig's run is 64 tokens: at this speed all of it takes ten hours
STEP_SECONDS = 360.0
CARD = Gear(assumed_levels(100.0, 200.0), 200.0, True, 0.9)


class House(Rig):
    """A rig whose run has a plan."""

    plan: dict[str, object]

    def navigate(self, tariff: Mapping[str, object] | None = None, **plan: float) -> None:
        config = Config.model_validate({"tariff": tariff or TARIFF, "plan": plan})
        http = FakeHttp(lambda request: Reply(404))
        prices = PriceKeeper(config.tariff, self.store, http, self.clock, "house")
        self.chart = chart_of(config, self.store, prices, None, self.clock)
        self.navigator = self.chart.navigator
        self.commands._navigator = self.navigator
        self.senses[:] = [self.navigator]
        self.supervisor.figures = lambda: Figures(self.navigator.view())

    def hours(self, hours: float, from_step: int) -> int:
        """Let the trainer train, or time pass where it is held; look as the daemon does."""
        step = from_step
        for _ in range(round(hours * 3600.0 / STEP_SECONDS)):
            self.clock.advance(STEP_SECONDS)
            running = self.engine.running is not None and self.trains()
            if running:
                step += 1
                speed = 64 / STEP_SECONDS
                event = m.Step(step, 100, step * 64, 0.1, 4.0, 1.0, 1.0, 0.1, speed, 0.3, {})
                self.engine.event(event)
            elif self.engine.running is not None:
                self.engine.event(m.Heartbeat(step, 0, 1))
            self.look()
            self.obey()
        return step

    def obey(self) -> None:
        """The trainer pauses and goes on as it was told."""
        told = [type(command) for command in self.engine.commands]
        told = [kind for kind in told if kind in (m.Pause, m.Resume)]
        if self.engine.running is not None and told:
            wanted = "paused" if told[-1] is m.Pause else "train"
            run = self.supervisor.board.snapshot().run
            if run is not None and run.phase != wanted:
                self.engine.event(m.Phase(wanted))
                self.settle()

    def trains(self) -> bool:
        run = self.supervisor.board.snapshot().run
        return run is not None and run.phase == "train"

    def look(self) -> str:
        snapshot = self.settle()
        news = self.navigator.consider(snapshot)
        if news:
            self.supervisor.journal("planned", news, run="month")
        self.settle()
        return news


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = FakeClock(START)
    built = House(tmp_path, clock=clock)
    yield built
    built.store.close()


def begun(house: House, **plan: float) -> None:
    house.navigate(None, **plan)
    house.submit()
    house.train()
    house.look()


def tariff_holds(house: House) -> list[Effect]:
    holds = house.supervisor.board.snapshot().holds
    return [hold.effect for hold in holds if hold.reason is Reason.TARIFF]


def test_a_run_without_a_goal_is_never_held_by_prices(house: House) -> None:
    begun(house)
    assert house.hours(6, 0) == 60
    assert "planned" not in house.kinds()
    report = house.commands.schedule(4)
    assert (report.goal, {slot.state for slot in report.slots}) == ("off", {Doing.RUN})
    assert "no goal is set" in report.slots[0].reason


def test_a_slack_in_the_configuration_waits_out_the_dear_hours(house: House) -> None:
    begun(house, slack=1.5, reserve=0.0)
    step = house.hours(2, 0)
    assert "planned" in house.kinds()
    assert tariff_holds(house) == [Effect.PAUSE]
    snapshot = house.supervisor.board.snapshot()
    assert snapshot.plan is not None
    assert snapshot.plan.deadline is not None
    assert snapshot.run is not None
    assert snapshot.run.eta == snapshot.plan.finish
    report = house.commands.schedule(24)
    now, *_ = report.slots
    assert now.state is Doing.OFF
    assert "0.900 EUR/kWh is too dear; 0.200 in" in now.reason
    goes_on = next(slot for slot in report.slots if slot.state is Doing.RUN)
    assert goes_on.start == START + timedelta(hours=8) == report.next_change
    assert report.always_on_cost is not None
    assert report.cost is not None
    assert report.cost < report.always_on_cost
    assert step < 25
    # it waits until noon and no minute longer, and what the schedule said is what happens
    assert house.hours(5.9, step) == step
    assert house.hours(1.0, step) >= step + 8
    kinds = house.kinds()
    assert kinds.index("planned") < kinds.index("paused") < kinds.index("unpaused")


def test_a_goal_set_on_a_running_run_counts_at_once_and_can_be_taken_back(house: House) -> None:
    begun(house)
    house.hours(2.5, 0)
    assert tariff_holds(house) == []
    house.commands.set_goal("month", Goal(GoalKind.SLACK, slack=2.0), "test")
    house.look()
    assert tariff_holds(house) == [Effect.PAUSE]
    house.commands.set_goal("month", Goal(), "test")
    house.look()
    assert tariff_holds(house) == []
    assert house.kinds().count("goal_set") == 2


def test_a_price_above_which_it_is_not_worth_it(house: House) -> None:
    begun(house)
    house.hours(1, 0)
    # full speed is 640 tokens an hour at 65 W: a million tokens cost 20 at 0.20, 91 at 0.90
    house.commands.set_goal("month", Goal(GoalKind.VALUE, money=Decimal("40")), "test")
    house.look()
    assert tariff_holds(house) == []
    house.hours(1.2, 10)
    assert tariff_holds(house) == [Effect.PAUSE]
    assert house.commands.schedule(2).mode == "value"


def test_a_budget_buys_the_earliest_finish_that_it_can(house: House) -> None:
    begun(house)
    house.hours(1, 0)
    # nine hours at 65 W and 0.20 are 0.12; each dear one is 0.05 more
    house.commands.set_goal("month", Goal(GoalKind.BUDGET, money=Decimal("0.20")), "test")
    house.look()
    view = house.navigator.view()
    assert view is not None
    assert view.mode == "budget"
    assert view.cost is not None
    assert view.cost <= 0.20
    house.commands.set_goal("month", Goal(GoalKind.BUDGET, money=Decimal("10")), "test")
    house.look()
    rich = house.navigator.view()
    assert rich is not None
    assert rich.finish is not None
    assert view.finish is not None
    assert rich.finish < view.finish


def test_levels_goal_and_date_survive_a_restart_of_the_daemon(house: House) -> None:
    begun(house, slack=1.5, reserve=0.0)
    house.hours(2, 0)
    before = house.navigator.view()
    assert before is not None
    house.crash()
    house.navigate(slack=1.5, reserve=0.0)
    house.look()
    after = house.navigator.view()
    assert after is not None
    assert after.deadline == before.deadline
    assert tariff_holds(house) == [Effect.PAUSE]
    # another wish in the configuration counts for a run that has none of its own
    house.navigate(slack=0.0, reserve=0.0)
    house.look()
    other = house.navigator.view()
    assert other is not None
    assert other.deadline != before.deadline


def test_prices_that_nobody_knows_stop_nothing(house: House) -> None:
    dead = {"currency": "EUR", "service": "energy_charts", "area": "DE-LU"}
    house.navigate(dead, slack=1.0)
    house.submit()
    house.train()
    house.look()
    house.hours(3, 0)
    view = house.navigator.view()
    assert view is not None
    assert view.remark == "No prices are known: it runs at full power."
    assert tariff_holds(house) == []


def test_a_planner_that_breaks_lets_the_run_go_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(house, slack=1.5, reserve=0.0)
    house.hours(2, 0)
    assert tariff_holds(house) == [Effect.PAUSE]
    monkeypatch.setattr(
        "orchestrator.piloting.pilot.Pilot.consider",
        lambda *_, **__: (_ for _ in ()).throw(KeyError("x")),
    )
    house.look()
    assert tariff_holds(house) == []
    assert "planning failed" in house.commands.schedule(1).slots[0].reason


def test_a_plan_that_nobody_looks_after_holds_nothing(house: House) -> None:
    begun(house, slack=1.5, reserve=0.0)
    house.hours(2, 0)
    assert tariff_holds(house) == [Effect.PAUSE]
    house.pass_time(3601.0)
    assert tariff_holds(house) == []


def test_the_curve_tells_what_waiting_saves(house: House) -> None:
    begun(house)
    house.hours(1, 0)
    curve = house.commands.schedule_curve()
    assert len(curve.points) > 2
    assert curve.points[0].cost > curve.points[-1].cost
    assert "later saves" in curve.remark


def test_quiet_hours_and_a_pause_with_an_end_are_no_time_to_plan_with(house: House) -> None:
    begun(house, slack=1.5, reserve=0.0)
    house.hours(1, 0)
    until = house.clock.now() + timedelta(minutes=30)
    house.commands.pause(run=None, until=until, release=False, detail="film", source="test")
    house.settle()
    house.look()
    slots = house.commands.schedule(3).slots
    assert [slot.state for slot in slots if slot.start < until] == [Doing.HOLD]
    assert "user: film" in slots[0].reason


def test_a_profile_is_what_the_plan_knows_from_then_on_also_after_a_restart(house: House) -> None:
    begun(house)
    house.hours(1, 0)
    levels = assumed_levels(100.0, 200.0)
    helm = house.navigator._helm
    helm.gear = CARD
    navigator = Navigator(house.store, helm, house.clock)
    results = [
        LevelResult(level.limit_watts or 0.0, 0.5, 0.1, level.limit_watts, 60.0)
        for level in levels
        if level.limit_watts != 200.0
    ]
    navigator.learn("month", [LevelResult(200.0, 1.0, 0.2, 200.0, 60.0), *results], "nvml")
    navigator.learn("another", results, "nvml")
    navigator.consider(house.settle())
    with house.store.transaction() as tx:
        known = {item.limit_watts: item for item in tx.goals.readings("month")}
    assert set(known) == {100.0, 120.0, 140.0, 160.0, 180.0, 200.0}
    assert known[120.0].tokens_per_second == pytest.approx(known[200.0].tokens_per_second / 2)
    assert known[120.0].wall_watts == pytest.approx(CARD.wall_watts(120.0, "nvml"))


def test_a_wish_without_a_date_looks_ahead_again_and_again(house: House) -> None:
    begun(house)
    house.hours(1, 0)
    house.commands.set_goal("month", Goal(GoalKind.VALUE, money=Decimal("0.001")), "test")
    house.look()
    house.commands.pause(run=None, until=None, release=True, detail="", source="test")
    for _ in range(9):
        house.clock.advance(86_400.0)
        house.look()
    view = house.navigator.view()
    assert view is not None
    assert view.mode == "value"
    assert tariff_holds(house) != []


def test_of_a_meter_of_the_whole_machine_only_what_running_adds_counts(house: House) -> None:
    begun(house)
    step = house.hours(1, 0)
    machine = house.navigator._measured
    assert [level.wall_watts for level in machine.levels] == [65.0], "assumed: nobody saw it wait"
    house.meter.watts = 40.0
    house.commands.pause(run=None, until=None, release=False, detail="", source="test")
    house.look()
    house.obey()
    step = house.hours(1, step)
    house.commands.resume(run=None, source="test")
    house.look()
    house.obey()
    house.meter.watts = 110.0
    house.hours(2, step)
    (level,) = house.navigator._measured.levels
    assert level.wall_watts == pytest.approx(70.0, abs=8.0)
