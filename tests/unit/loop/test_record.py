"""run.json: what is pinned stays pinned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.unit.loop.support import tiny_spec
from trainer import record
from trainer.record import RecordError, SpecChangedError

ENVIRONMENT = {"torch": "2.13.0", "threads": 2}


@pytest.fixture
def pinned(tmp_path: Path) -> record.Record:
    return record.first(tiny_spec(tmp_path), ENVIRONMENT)


def test_a_run_that_was_never_started_has_no_record(tmp_path: Path) -> None:
    assert record.read(tmp_path) is None
    assert record.read(tmp_path / "not even a directory") is None


def test_what_is_written_is_read_back(tmp_path: Path, pinned: record.Record) -> None:
    full = dataclasses.replace(pinned, dataset="abc", data_dir="/data")
    full = full.in_environment({"torch": "2.14.0", "threads": 2}, attempt=9)
    record.write(tmp_path, full)
    assert record.read(tmp_path) == full
    assert full.former == ({"torch": "2.13.0", "threads": 2, "until_attempt": 9},)


def test_a_write_that_is_cut_short_leaves_the_old_record(
    tmp_path: Path, pinned: record.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.write(tmp_path, pinned)

    def power_cut(_self: Path, _target: Path) -> Path:
        raise OSError("power cut")

    monkeypatch.setattr(Path, "rename", power_cut)
    with pytest.raises(OSError, match="power cut"):
        record.write(tmp_path, dataclasses.replace(pinned, dataset="new"))
    monkeypatch.undo()
    assert record.read(tmp_path) == pinned
    record.write(tmp_path, dataclasses.replace(pinned, dataset="new"))
    found = record.read(tmp_path)
    assert found is not None
    assert found.dataset == "new"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": 99}', '{"format": 1, "former": [], "odd": 1}', "\xff"],
)
def test_a_record_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecordError, match=r"run\.json"):
        record.read(tmp_path)


def test_a_record_without_threads_is_refused(tmp_path: Path, pinned: record.Record) -> None:
    record.write(tmp_path, pinned)
    path = tmp_path / "run.json"
    plain = json.loads(path.read_text())
    del plain["environment"]["threads"]
    path.write_text(json.dumps(plain))
    with pytest.raises(RecordError, match="threads"):
        record.read(tmp_path)


def test_another_spec_is_refused_and_each_difference_named(
    tmp_path: Path, pinned: record.Record
) -> None:
    other = tiny_spec(tmp_path, lr_scale=0.5, depth=2, keep=9)
    with pytest.raises(SpecChangedError) as refused:
        record.refuse_other_spec(pinned, other)
    text = str(refused.value)
    assert "model.depth: 1 -> 2" in text
    assert "train.lr_scale: 1.0 -> 0.5" in text
    assert "checkpoint" not in text


def test_other_saving_habits_are_no_other_spec(tmp_path: Path, pinned: record.Record) -> None:
    other = tiny_spec(tmp_path, every_seconds=1.0, keep=9)
    record.refuse_other_spec(pinned, other)
    assert other != pinned.spec


def test_where_state_rests_may_change_at_any_start(tmp_path: Path, pinned: record.Record) -> None:
    other = tiny_spec(tmp_path, optimizer_state="host", activation_checkpointing="on")
    record.refuse_other_spec(pinned, other)
    assert other.to_dict() != pinned.spec


def test_another_recipe_is_another_run_and_both_are_named(
    tmp_path: Path, pinned: record.Record
) -> None:
    other = tiny_spec(tmp_path, precision="bf16-8bit", optimizer_state="host")
    with pytest.raises(SpecChangedError, match="'fp32' -> 'bf16-8bit'") as refused:
        record.refuse_other_spec(pinned, other)
    assert "optimizer_state" not in str(refused.value)


def test_what_auto_meant_is_written_and_read_back(tmp_path: Path, pinned: record.Record) -> None:
    spec = tiny_spec(tmp_path, precision="auto")
    assert pinned.settled(spec) == spec
    record.write(tmp_path, dataclasses.replace(pinned, precision="int8"))
    found = record.read(tmp_path)
    assert found is not None
    assert found.settled(spec) == tiny_spec(tmp_path, precision="int8")
