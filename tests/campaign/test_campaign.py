"""The short form of the campaign: every fault at least once, nothing wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.campaign.row import Row
from tests.campaign.table import failures, sigkills, table


@pytest.mark.timeout(1800)  # its own waits are the limit, on however busy a machine
def test_every_fault_is_survived_without_a_wrong_byte() -> None:
    line = [sys.executable, "-m", "tests.campaign", "--short"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_was_wrong_lost_or_never_tried_fails_the_campaign() -> None:
    good = Row("SIGKILL of the trainer", 3, 1.25, 0.5, 3, 0)
    assert failures([good]) == []
    assert failures([Row("bad", 3, 0, 0, 3, 1)]) == ["bad: 1 wrong"]
    assert failures([Row("gone", 3, 0, 0, 2, 0)]) == ["gone: 1 not recovered"]
    assert failures([Row("idle", 0, 0, 0, 0, 0)]) == ["idle: never injected"]
    assert sigkills([good, Row("disk full", 9, 0, 0, 9, 0)]) == 3
    assert "| SIGKILL of the trainer | 3 | 1.25 s | 0.50 s | 3 | 0 |" in table([good])
