"""The two pure halves of the supervisor's mind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import decide as d
from orchestrator.domain import Attempt, AttemptEnd, Effect, Hold, Reason, Setpoint

NOW = datetime(2026, 12, 1, 18, tzinfo=UTC)
POLICY = d.Policy()


def a_hold(effect: Effect, **fields: object) -> Hold:
    values: dict[str, object] = {"reason": Reason.USER, "source": "test", "since": NOW, **fields}
    return Hold(effect=effect, **values)  # type: ignore[arg-type] # a shorthand of the tests


def facts(**fields: object) -> d.Facts:
    values: dict[str, object] = {
        "now": NOW,
        "run": "month",
        "holds": (),
        "draining": False,
        "failures": 0,
        **fields,
    }
    return d.Facts(**values)  # type: ignore[arg-type] # a shorthand of the tests


def attempt(number: int, end: AttemptEnd, first: int | None, last: int | None) -> Attempt:
    return Attempt("month", number, NOW, first, last, NOW, end)


def test_without_holds_the_run_goes_at_full_power() -> None:
    decision = d.decide(facts(), POLICY)
    assert decision.setpoint == Setpoint(Effect.RUN)
    assert decision.new_holds == ()


def test_the_deepest_effect_and_the_lowest_cap_win() -> None:
    setpoint = d.add_up(
        [
            a_hold(Effect.CAP, cap_watts=150.0, reason=Reason.TARIFF),
            a_hold(Effect.CAP, cap_watts=120.0, reason=Reason.QUIET_HOURS),
            a_hold(Effect.PAUSE),
        ]
    )
    assert setpoint.effect is Effect.PAUSE
    assert setpoint.cap_watts == 120.0
    assert setpoint.reasons == (Reason.TARIFF, Reason.QUIET_HOURS, Reason.USER)


def test_the_end_is_the_last_hold_s_and_unknown_if_one_has_none() -> None:
    early, late = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    ends = [a_hold(Effect.PAUSE, until=early), a_hold(Effect.RELEASE, until=late)]
    assert d.add_up(ends).until == late
    assert d.add_up([*ends, a_hold(Effect.PAUSE)]).until is None


def test_a_hold_on_another_run_does_not_hold_this_one() -> None:
    decision = d.decide(facts(holds=(a_hold(Effect.PAUSE, run="other"),)), POLICY)
    assert decision.setpoint.effect is Effect.RUN


def test_a_drain_releases() -> None:
    assert d.decide(facts(draining=True), POLICY).setpoint.effect is Effect.RELEASE


def test_the_fifth_fruitless_failure_raises_a_hold_that_is_written_down_once() -> None:
    assert d.decide(facts(failures=4), POLICY).new_holds == ()
    decision = d.decide(facts(failures=5, last_failure="exit code 1"), POLICY)
    assert [hold.reason for hold in decision.new_holds] == [Reason.CRASH_LOOP]
    assert "exit code 1" in decision.new_holds[0].detail
    assert decision.setpoint.effect is Effect.RELEASE
    again = d.decide(facts(failures=5, holds=decision.new_holds), POLICY)
    assert again.new_holds == ()


def test_failures_that_made_progress_are_no_crash_loop() -> None:
    crashed = AttemptEnd.CRASHED
    row = [attempt(1, crashed, 0, 10), attempt(2, crashed, 10, 10), attempt(3, crashed, None, None)]
    assert [a.number for a in d.fruitless_failures(row)] == [2, 3]
    assert d.fruitless_failures([*row, attempt(4, crashed, 10, 11)]) == []


def test_the_daemon_s_own_death_neither_counts_nor_excuses() -> None:
    crashed = AttemptEnd.CRASHED
    row = [
        attempt(1, crashed, 5, 5),
        attempt(2, AttemptEnd.DAEMON_LOST, 5, 5),
        attempt(3, AttemptEnd.REBOOT, 5, 5),
        attempt(4, crashed, 5, 5),
    ]
    assert [a.number for a in d.fruitless_failures(row)] == [1, 4]


def test_a_good_end_and_a_resume_start_the_count_anew() -> None:
    crashed = AttemptEnd.CRASHED
    row = [attempt(1, crashed, 5, 5), attempt(2, AttemptEnd.STOPPED, 5, 5)]
    assert d.fruitless_failures(row) == []
    assert d.fruitless_failures([attempt(1, crashed, 5, 5)], forgiven=1) == []


def test_the_back_off_doubles_up_to_its_limit() -> None:
    waits = [d.backoff_seconds(failures, POLICY) for failures in range(12)]
    assert waits[:5] == [0.0, 2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == POLICY.backoff_max_seconds
    assert d.backoff_seconds(10_000, POLICY) == POLICY.backoff_max_seconds


# --- reconcile ------------------------------------------------------------------------------


def trainer(**fields: object) -> d.Trainer:
    values: dict[str, object] = {
        "run": "month",
        "greeted": True,
        "ready": True,
        "told": d.Told.GO,
        "age_seconds": 100.0,
        "silent_seconds": 0.0,
        "told_seconds": 0.0,
        **fields,
    }
    return d.Trainer(**values)  # type: ignore[arg-type] # a shorthand of the tests


def act(effect: Effect, observed: d.Observed) -> d.Act | None:
    action = d.reconcile(Setpoint(effect), observed, POLICY)
    return action.act if action else None


def seen(
    trainer: d.Trainer | None = None,
    engine: d.EngineState = d.EngineState.READY,
    run: str | None = "month",
    wait: float = 0.0,
) -> d.Observed:
    return d.Observed(run, engine, trainer, wait)


def test_a_run_starts_engine_then_trainer_then_nothing_more() -> None:
    assert act(Effect.RUN, seen(engine=d.EngineState.OFF)) is d.Act.OPEN_ENGINE
    assert act(Effect.RUN, seen(engine=d.EngineState.STARTING)) is None
    assert act(Effect.RUN, seen()) is d.Act.START_TRAINER
    assert act(Effect.RUN, seen(trainer())) is None


def test_the_back_off_delays_the_start() -> None:
    assert act(Effect.RUN, seen(wait=0.5)) is None
    assert act(Effect.RUN, seen(engine=d.EngineState.OFF, wait=0.5)) is None


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (Effect.PAUSE, d.Act.PAUSE),
        (Effect.FINISH, d.Act.FINISH),
        (Effect.RELEASE, d.Act.STOP),
        (Effect.CAP, None),
    ],
)
def test_a_running_trainer_is_told_what_the_setpoint_wants(
    effect: Effect, expected: d.Act | None
) -> None:
    assert act(effect, seen(trainer())) is expected


def test_a_paused_trainer_goes_on_when_nothing_holds_it() -> None:
    assert act(Effect.PAUSE, seen(trainer(told=d.Told.PAUSE))) is None
    assert act(Effect.RUN, seen(trainer(told=d.Told.PAUSE))) is d.Act.RESUME


def test_a_trainer_that_leaves_is_left_alone_until_its_time_is_up() -> None:
    leaving = trainer(told=d.Told.STOP, told_seconds=POLICY.stop_timeout_seconds - 1)
    assert act(Effect.RUN, seen(leaving)) is None
    late = trainer(told=d.Told.STOP, told_seconds=POLICY.stop_timeout_seconds + 1)
    assert act(Effect.RUN, seen(late)) is d.Act.KILL


def test_a_silent_trainer_is_killed_and_told_why() -> None:
    silent = trainer(silent_seconds=POLICY.stall_after_seconds + 1)
    action = d.reconcile(Setpoint(Effect.RUN), seen(silent), POLICY)
    assert action is not None
    assert action.act is d.Act.KILL
    assert "no sign of life for 601 s" in action.why


def test_a_trainer_that_still_loads_has_longer() -> None:
    loading = trainer(ready=False, silent_seconds=POLICY.stall_after_seconds + 1)
    assert act(Effect.RUN, seen(loading)) is None


def test_one_that_has_not_said_hello_is_killed_rather_than_told() -> None:
    starting = trainer(greeted=False, ready=False)
    assert act(Effect.RELEASE, seen(starting)) is d.Act.KILL
    assert act(Effect.PAUSE, seen(starting)) is None


def test_the_trainer_of_a_cancelled_run_stops() -> None:
    assert act(Effect.RUN, seen(trainer(run="other"))) is d.Act.STOP


def test_a_release_gives_the_engine_s_memory_back_too() -> None:
    assert act(Effect.RELEASE, seen()) is d.Act.CLOSE_ENGINE
    assert act(Effect.RELEASE, seen(engine=d.EngineState.OFF)) is None


def test_nothing_to_do_keeps_no_engine() -> None:
    assert act(Effect.RUN, seen(run=None)) is d.Act.CLOSE_ENGINE


@given(
    effect=st.sampled_from(list(Effect)),
    told=st.sampled_from(list(d.Told)),
    greeted=st.booleans(),
    engine=st.sampled_from(list(d.EngineState)),
    alive=st.booleans(),
    run=st.sampled_from(["month", None]),
)
def test_no_second_trainer_is_ever_started(
    effect: Effect,
    told: d.Told,
    greeted: bool,
    engine: d.EngineState,
    alive: bool,
    run: str | None,
) -> None:
    living = trainer(told=told, greeted=greeted) if alive else None
    wanted = act(effect, seen(living, engine, run))
    if alive:
        assert wanted not in (d.Act.START_TRAINER, d.Act.OPEN_ENGINE, d.Act.CLOSE_ENGINE)
    if effect not in (Effect.RUN, Effect.CAP):
        assert wanted is not d.Act.START_TRAINER
