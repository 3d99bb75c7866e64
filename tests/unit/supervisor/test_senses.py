"""What the house asks for reaches the setpoint, the journal and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.domain import Effect, Hold, Reason
from orchestrator.holds.senses import FakeSense, news
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m

START = datetime(2026, 12, 1, tzinfo=UTC)


def hold(effect: Effect = Effect.PAUSE, detail: str = "on battery") -> Hold:
    return Hold(Reason.UPS, effect, "nut", START, detail=detail)


def test_a_sensed_hold_pauses_and_its_end_resumes(rig: Rig) -> None:
    sense = FakeSense(hold())
    rig.senses.append(sense)
    rig.submit()
    assert rig.engine.calls == []
    sense.holds = ()
    rig.settle()
    rig.train(0, 2)
    sense.holds = (hold(),)
    snapshot = rig.settle()
    assert snapshot.setpoint.effect is Effect.PAUSE
    assert snapshot.setpoint.reasons == (Reason.UPS,)
    assert rig.engine.commands[-1] == m.Pause()
    sense.holds = ()
    assert rig.settle().setpoint.effect is Effect.RUN
    assert rig.engine.commands[-1] == m.Resume()


def test_the_journal_tells_when_it_began_and_ended_and_not_each_tick(rig: Rig) -> None:
    sense = FakeSense(hold())
    rig.senses.append(sense)
    rig.settle(ticks=20)
    sense.holds = (hold(detail="on battery, 41 %"),)
    rig.settle(ticks=20)
    sense.holds = ()
    rig.settle()
    assert [kind for kind in rig.kinds() if kind.startswith("hold_")] == [
        "hold_started",
        "hold_ended",
    ]


def test_a_hold_that_deepens_is_news(rig: Rig) -> None:
    changed = news([hold()], [hold(Effect.RELEASE)])
    assert [item.effect for item in changed.begun] == [Effect.RELEASE]
    assert [item.effect for item in changed.ended] == [Effect.PAUSE]


def test_sensed_holds_are_not_stored(rig: Rig) -> None:
    rig.senses.append(FakeSense(hold()))
    rig.settle()
    with rig.store.transaction() as tx:
        assert tx.holds.active(rig.clock.now()) == []
