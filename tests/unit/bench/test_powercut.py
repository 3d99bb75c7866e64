"""The bench of power cuts: its writers save what they say, and its table says what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench.powercut import Result, errors, load_now, report, table
from tests.bench.powercut_loops import expected
from tests.bench.powercut_writers import (
    NUMBERS,
    Dcp,
    NewFiles,
    NothingThere,
    OneFile,
    Ours,
    Writer,
    WrongState,
    checked,
    state_at,
)

PLAIN: list[Writer] = [Ours(), Dcp(), OneFile(), NewFiles()]


class Enough(Exception):
    """The writer has saved what it should."""


def write_three(writer: Writer, root: Path) -> None:
    done: list[int] = []

    def wait() -> None:
        if len(done) == 3:
            raise Enough

    with pytest.raises(Enough):
        writer.write(root, wait, done.append)
    assert done == [1, 2, 3]


@pytest.mark.parametrize("writer", PLAIN, ids=lambda writer: writer.name)
def test_what_a_writer_saved_is_what_it_resumes_from(writer: Writer, tmp_path: Path) -> None:
    write_three(writer, tmp_path)
    assert writer.resume(tmp_path) == 3
    assert next(writer.by_hand(tmp_path))() == 3


@pytest.mark.parametrize("writer", PLAIN[1:], ids=lambda writer: writer.name)
def test_without_a_checkpoint_there_is_nothing(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(NothingThere):
        writer.resume(tmp_path)


def test_an_empty_newest_file_makes_the_tool_stuck_and_the_older_is_found_by_hand(
    tmp_path: Path,
) -> None:
    """The commonest thing that a power cut leaves of others."""
    writer = NewFiles()
    write_three(writer, tmp_path)
    (tmp_path / "model-3.pt").write_bytes(b"")
    with pytest.raises(EOFError):
        writer.resume(tmp_path)
    newest, older = writer.by_hand(tmp_path)
    with pytest.raises(EOFError):
        newest()
    assert older() == 2


def test_a_tool_that_fails_by_no_ordinary_exception_still_lets_a_person_try_the_older_one() -> None:
    """torch's CheckpointException is none."""

    class Failing(OneFile):
        def resume(self, root: Path) -> int:
            raise BaseException("rank 0 failed")

        def by_hand(self, root: Path) -> Iterator[Callable[[], int]]:
            yield lambda: self.resume(root)
            yield lambda: 2

    child: Any = SimpleNamespace(writer=Failing(), disk=SimpleNamespace(root=Path("/nowhere")))
    assert load_now(child, by_hand=False) == (0, "BaseException: rank 0 failed")
    assert load_now(child, by_hand=True) == (2, "")


def test_a_state_of_another_step_is_wrong() -> None:
    mixed = {**state_at(3), "optimizer": state_at(2)["optimizer"]}
    with pytest.raises(WrongState, match="optimizer is not that of step 3"):
        checked(mixed, 3)
    assert checked(state_at(3), 3) == 3
    assert state_at(3)["model"]["weight"].numel() == NUMBERS


def test_the_weight_of_a_training_loop_follows_from_its_step() -> None:
    assert [expected(step) for step in (1, 2, 3)] == [(1.0, -1.0), (2.5, -1.5), (4.25, -1.75)]


def test_the_table_counts_each_outcome_where_it_belongs() -> None:
    results = [
        Result("ext4", "homerun", True, 0.0, "newest", ""),
        Result("ext4", "homerun", False, 3.0, "newest", ""),
        Result("ext4", "Lightning", False, 4.0, "nothing", "EOFError: "),
        Result("ext4", "Lightning", False, 5.0, "nothing", "EOFError: "),
    ]
    lines = table(results, ["homerun", "Lightning"], ["ext4"]).splitlines()
    assert lines[2] == "| ext4 | homerun | in a save | 1 | 1 | 0 | 0 | 0 | 0 |"
    assert lines[5] == "| ext4 | Lightning | 0 to 5 s after one | 2 | 0 | 0 | 0 | 2 | 0 |"
    assert errors(results, ["homerun", "Lightning"]) == "- Lightning: 2 x `EOFError: `"
    page = report(results, [Ours()], ["ext4"], "a machine")
    assert "a machine" in page
    assert Ours().how in page
