"""The table of make gpu-check, and what it says where there is no GPU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.gpu import check
from tests.gpu.table import (
    GIB,
    ExactnessCheck,
    MemoryCheck,
    Report,
    SpeedCheck,
    markdown,
    to_json,
    write,
)

GOOD = MemoryCheck("int8", 32, 4, 9 * GIB, int(9.2 * GIB), 10 * GIB, GIB // 2, 4 * GIB)
REPORT = Report(
    device="NVIDIA GeForce RTX 4070",
    driver="570.1",
    torch="2.13.0",
    command="make gpu-check",
    limit_bytes=12 * GIB,
    memory=(GOOD,),
    speed=(
        SpeedCheck("bf16-8bit", 32, 4, True, 3000.0, 36.2e12, 2.5, 2963.0),
        SpeedCheck("int8", 32, 4, True, 5100.0, 61.6e12, 2.5, 5006.0),
    ),
    exactness=(ExactnessCheck("int8", True, True),),
)


def test_without_a_gpu_nothing_is_measured_and_the_exit_code_is_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check.main(["--out", str(tmp_path)]) == 3
    assert capsys.readouterr().err == "no CUDA device: nothing was measured\n"
    assert list(tmp_path.iterdir()) == []


def test_the_table_names_device_limit_and_command() -> None:
    text = markdown(REPORT)
    assert "NVIDIA GeForce RTX 4070" in text
    assert "12.0 GiB" in text
    assert "`make gpu-check`" in text
    assert "| int8 | d32 | 4 | 9.00 | 9.20 | +2.2% | 10.00 | 0.50 | 4.00 | ok |" in text
    assert "d32, compiled: int8 is 1.70 times as fast as bf16." in text
    assert text.endswith("Everything is as promised.\n")


def test_every_row_of_a_table_has_as_many_cells() -> None:
    rows = [line for line in markdown(REPORT).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {11, 10, 5}


@pytest.mark.parametrize(
    "broken",
    [
        dataclasses.replace(REPORT, memory=(dataclasses.replace(GOOD, allocated=10 * GIB),)),
        dataclasses.replace(
            REPORT, memory=(MemoryCheck("nf4", 32, 4, GIB, error="out of memory"),)
        ),
        dataclasses.replace(REPORT, speed=(SpeedCheck("int8", 20, 4, False, error="x | y"),)),
        dataclasses.replace(REPORT, exactness=(ExactnessCheck("int8", False, True),)),
        dataclasses.replace(REPORT, exactness=(ExactnessCheck("int8", error="boom"),)),
    ],
)
def test_what_is_not_as_promised_is_said(broken: Report) -> None:
    assert not broken.good
    assert "**Not everything is as promised.**" in markdown(broken)


def test_a_resume_is_not_asked_to_be_more_exact_than_the_device() -> None:
    unordered = ExactnessCheck("bf16", resumed_equal=False, repeated_equal=False)
    assert dataclasses.replace(REPORT, exactness=(unordered,)).good


def test_it_is_written_for_people_and_for_programs(tmp_path: Path) -> None:
    table, data = write(REPORT, tmp_path / "bench")
    assert table.read_text() == markdown(REPORT)
    plain = json.loads(data.read_text())
    assert plain == json.loads(json.dumps(to_json(REPORT)))
    assert plain["gpu_check"]["memory"][0]["allocated"] == int(9.2 * GIB)
    assert plain["gpu_check"]["good"] is True


def test_what_was_not_measured_says_so() -> None:
    empty = dataclasses.replace(REPORT, memory=(), speed=(), exactness=())
    assert markdown(empty).count("Not measured.") == 3
