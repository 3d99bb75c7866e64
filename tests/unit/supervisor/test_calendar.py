"""The calendar and its chores: a fire may be lost, late or doubled, and nothing is lost."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.calendar import Calendar, _logged
from orchestrator.store import Store


def test_chores_are_declared_anew_at_each_start_and_never_doubled() -> None:
    calendar = Calendar()
    for _ in range(2):
        calendar.every(timedelta(hours=1), "retention", lambda: None)
        calendar.daily(4, 30, "store-backup", lambda: None)
    calendar.start()
    try:
        assert sorted(calendar.chores()) == ["retention", "store-backup"]
    finally:
        calendar.stop()
    calendar.stop()


def test_a_chore_is_called_at_its_time() -> None:
    calendar = Calendar()
    called = threading.Event()
    calendar.every(timedelta(milliseconds=50), "tick", called.set)
    calendar.start()
    try:
        assert called.wait(20)
    finally:
        calendar.stop()


def test_a_chore_that_fails_is_logged_and_does_not_end_the_calendar(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise OSError("no space left")

    with caplog.at_level(logging.ERROR):
        _logged("store-backup", fail)()
    assert "store-backup" in caplog.text
    assert "no space left" in caplog.text


def test_a_backup_opens_as_a_store_with_the_same_runs(tmp_path: Path) -> None:
    from tests.unit.supervisor.rig import Rig

    rig = Rig(tmp_path)
    rig.submit()
    for _ in range(2):
        rig.store.backup(tmp_path / "backup.sqlite")
    rig.store.close()
    copy = Store.open(f"sqlite:///{tmp_path / 'backup.sqlite'}")
    with copy.transaction() as tx:
        assert [run.name for run in tx.runs.all()] == ["month"]
    copy.close()
