"""Guests who announce themselves: GameMode's hooks, with a real store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain import Effect, Reason
from orchestrator.errors import Invalid
from orchestrator.holds.guests import LONGEST
from tests.unit.supervisor.rig import Rig
from trainer.contract import messages as m


def test_a_game_that_says_so_gets_the_card_and_gives_it_back(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    hold = rig.commands.arrive(name="gamemode", until=None, detail="")
    assert (hold.reason, hold.effect, hold.source) == (
        Reason.GPU_BUSY,
        Effect.RELEASE,
        "gamemode",
    )
    assert hold.until == rig.clock.now() + LONGEST
    rig.settle()
    assert rig.engine.commands == [m.Stop()]
    assert rig.commands.leave(name="gamemode")
    assert not rig.commands.leave(name="gamemode")
    assert rig.settle().setpoint.effect is Effect.RUN
    assert rig.kinds().count("hold_ended") == 1


def test_a_guest_survives_a_crash_of_the_daemon_but_not_for_ever(rig: Rig) -> None:
    rig.submit()
    rig.train(0, 2)
    rig.commands.arrive(name="gamemode", until=None, detail="")
    rig.crash()
    assert [hold.source for hold in rig.settle().holds] == ["gamemode"]
    assert rig.pass_time(LONGEST.total_seconds()).holds == ()


def test_a_short_visit_only_pauses(rig: Rig) -> None:
    soon = rig.clock.now() + timedelta(minutes=5)
    hold = rig.commands.arrive(name="video-call", until=soon, detail="a call")
    assert (hold.effect, hold.until, hold.detail) == (Effect.PAUSE, soon, "a call")


def test_who_says_it_twice_holds_once_and_two_guests_are_two(rig: Rig) -> None:
    for name in ("gamemode", "gamemode", "blender"):
        rig.commands.arrive(name=name, until=None, detail="")
    assert [hold.source for hold in rig.settle().holds] == ["gamemode", "blender"]
    rig.commands.leave(name="gamemode")
    assert [hold.source for hold in rig.settle().holds] == ["blender"]


def test_a_persons_resume_is_the_newest_word(rig: Rig) -> None:
    rig.commands.arrive(name="gamemode", until=None, detail="")
    assert rig.commands.resume(run=None, source="cli") == []


@pytest.mark.parametrize("name", ["", "x" * 41, "two words", "../etc", "nul\0"])
def test_a_name_that_can_be_no_source_is_refused(rig: Rig, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        rig.commands.arrive(name=name, until=None, detail="")


def test_an_end_in_the_past_is_refused_and_changes_nothing(rig: Rig) -> None:
    rig.commands.arrive(name="gamemode", until=None, detail="")
    with pytest.raises(Invalid, match="in the past"):
        rig.commands.arrive(name="gamemode", until=rig.clock.now(), detail="")
    assert [hold.source for hold in rig.settle().holds] == ["gamemode"]
