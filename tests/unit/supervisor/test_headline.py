"""The sentence that a person reads on the phone in the morning."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain import (
    CheckpointView,
    Effect,
    Hold,
    Power,
    Reason,
    RunState,
    RunView,
    Setpoint,
)
from orchestrator.headline import headline

NOW = datetime(2026, 12, 1, 18, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    os.environ.pop("TZ", None)
    time.tzset()


def view(**fields: object) -> RunView:
    values: dict[str, object] = {
        "name": "month",
        "state": RunState.ACTIVE,
        "phase": "train",
        "phase_detail": "",
        "phase_fraction": None,
        "attempt": 1,
        "trainer_pid": 4711,
        "parameters": 3_000_000,
        "step": 41_208,
        "steps": 71_680,
        "micro": 0,
        "micro_batches": 64,
        "tokens": 0,
        "epoch": 0.1,
        "loss": 2.0,
        "bits_per_byte": None,
        "bits_per_byte_before": None,
        "tokens_per_second": None,
        "mfu": None,
        "peak_source": "",
        "step_seconds": None,
        "gradient_norm": None,
        "lr_multiplier": None,
        "progress": 41_208 / 71_680,
        "eta": None,
        "power": Power(None, "none", measured=False),
        "energy_joules": 0.0,
        "energy_measured": False,
        "active_seconds": 0.0,
        "lost_steps": 0,
        "restarts": 0,
        "checkpoint": None,
        "next_start": None,
        **fields,
    }
    return RunView(**values)  # type: ignore[arg-type] # a shorthand of the tests


def say(run: RunView | None, *holds: Hold, effect: Effect = Effect.RUN, queued: int = 0) -> str:
    setpoint = Setpoint(
        effect, None, tuple(h.reason for h in holds), holds[0].until if holds else None
    )
    return headline(NOW, run, setpoint, holds, queued)


def test_training_tells_step_and_finish() -> None:
    text = say(view(eta=NOW + timedelta(minutes=12)))
    assert text == "Training month, step 41,208 of 71,680 (57%), finishes in about 12 min."


def test_a_far_finish_is_a_date() -> None:
    assert say(view(eta=datetime(2027, 1, 14, tzinfo=UTC))).endswith("finishes about 14 January.")


def test_a_pause_tells_until_when_in_local_time_and_why() -> None:
    hold = Hold(
        Reason.USER, Effect.PAUSE, "cli", NOW, until=NOW + timedelta(hours=2), detail="gaming"
    )
    text = say(view(), hold, effect=Effect.PAUSE)
    assert text == "Paused until 21:00 by you (gaming): month, step 41,208 of 71,680 (57%)."


def test_an_end_on_another_day_names_the_day() -> None:
    hold = Hold(Reason.USER, Effect.RELEASE, "cli", NOW, until=NOW + timedelta(days=1))
    assert "Stopped until Wed 02 Dec 19:00 by you" in say(view(), hold, effect=Effect.RELEASE)


def test_steps_that_are_only_in_memory_are_told_with_the_disk_that_did_not_take_them() -> None:
    pause = Hold(Reason.USER, Effect.RELEASE, "cli", NOW)
    disk = Hold(Reason.DISK, Effect.PAUSE, "disk", NOW, detail="needs 8 GB, 1 GB free")
    saved = CheckpointView("gen", 41_192, NOW, 8)
    gone = view(trainer_pid=None, memory_step=41_208, checkpoint=saved)
    assert say(gone, pause, disk, effect=Effect.RELEASE) == (
        "Stopped by you: month, step 41,208 of 71,680 (57%). Step 41,192 is on the disk, the 16 "
        "steps after it are only in memory: a reboot would lose them. The disk holds it, too "
        "(needs 8 GB, 1 GB free)."
    )
    one = view(trainer_pid=None, memory_step=1)
    assert say(one, pause, effect=Effect.RELEASE).endswith(
        "Step 0 is on the disk, the step after it is only in memory: a reboot would lose it."
    )


def test_finish_speaks_of_the_next_checkpoint_while_the_trainer_lives() -> None:
    hold = Hold(Reason.USER, Effect.FINISH, "cli", NOW)
    assert say(view(), hold, effect=Effect.FINISH).startswith("Stopping at the next checkpoint")
    gone = view(trainer_pid=None)
    assert say(gone, hold, effect=Effect.FINISH).startswith("Stopped by you")


def test_a_back_off_is_told() -> None:
    text = say(view(next_start=NOW + timedelta(minutes=5), phase="idle", trainer_pid=None))
    assert text == "Starting month again at 19:05 after a failure."


def test_an_empty_queue_is_told() -> None:
    assert say(None) == "Nothing to train: the queue is empty."
