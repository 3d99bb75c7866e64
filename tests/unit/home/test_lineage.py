"""Whose process is it: real ones."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engine import process
from orchestrator.engine.sweep import MARKER
from orchestrator.home.lineage import Lineage


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(tmp_path)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that bears the mark of this state directory's engine."""
    env = {**os.environ, MARKER: f"{process.state_hash(tmp_path)}-0"}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=env) as running:
        yield running
        running.kill()


def test_we_and_what_is_below_us_are_ours(lineage: Lineage, child: subprocess.Popen[bytes]) -> None:
    assert lineage.is_ours(os.getpid())
    assert lineage.is_ours(child.pid)


def test_somebody_above_us_is_not(lineage: Lineage) -> None:
    assert not lineage.is_ours(os.getppid())


def test_a_process_of_our_engine_is_ours_whoever_its_parent_is(
    tmp_path: Path, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 2**22)
    assert Lineage(tmp_path).is_ours(child.pid)
    assert not Lineage(tmp_path / "other").is_ours(child.pid)


def test_a_pid_that_cannot_be_seen_is_no_reason_to_stop(lineage: Lineage) -> None:
    assert lineage.is_ours(2**22 + 1)


def test_a_process_that_ended_is_none_any_more(
    lineage: Lineage, child: subprocess.Popen[bytes]
) -> None:
    child.kill()
    child.wait()
    assert lineage.is_ours(child.pid)
