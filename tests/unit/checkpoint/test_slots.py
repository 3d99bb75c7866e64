"""Slots in shared memory: whole or not, private, bounded, given back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.unit.checkpoint.plain import CREATED
from tests.unit.checkpoint.rig import same, state
from trainer.checkpoint import host_memory, slots, snapshot
from trainer.checkpoint.catalog import Entry
from trainer.checkpoint.format import Manifest
from trainer.checkpoint.reader import load

_MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def _memory_given_back(run_dir: Path) -> Iterator[None]:
    yield
    slots.discard(run_dir)


def fill(
    run_dir: Path, step: int, files: dict[str, dict[str, Tensor]] | None = None, name: str = "a"
) -> Entry:
    manifest = Manifest("toy", step, 1, CREATED, "memory", None, "cafe")
    return snapshot.fill(slots.make_home(run_dir) / name, files or state(step), manifest)


def test_what_was_copied_is_read_back_to_the_byte(run_dir: Path) -> None:
    fill(run_dir, 7)
    (entry,) = slots.whole(run_dir)
    assert entry.step == 7
    assert same(load(entry).files, state(7))
    assert slots.torn(run_dir) == []


def test_a_slot_is_filled_again_by_a_smaller_and_by_a_larger_state(run_dir: Path) -> None:
    large = {"model": {"w": torch.arange(3_000_000)}, "optimizer": {"m": torch.ones(9)}}
    for step, files in enumerate((state(1), large, state(2))):
        fill(run_dir, step, files)
        (entry,) = slots.whole(run_dir)
        assert entry.step == step
        assert same(load(entry).files, files)


def test_the_newest_comes_first(run_dir: Path) -> None:
    fill(run_dir, 4, name="b")
    fill(run_dir, 3, name="a")
    assert [entry.step for entry in slots.whole(run_dir)] == [4, 3]


class Died(Exception):
    """In the middle of a copy."""


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
def test_a_copy_that_is_cut_short_anywhere_leaves_no_whole_slot(run_dir: Path, pieces: int) -> None:
    fill(run_dir, 1)
    left = pieces

    def fetch(piece: Tensor) -> Tensor:
        nonlocal left
        if left == 0:
            raise Died
        left -= 1
        return piece

    manifest = Manifest("toy", 2, 1, CREATED, "memory", None, "cafe")
    with pytest.raises(Died):
        snapshot.fill(slots.home(run_dir) / "a", state(2), manifest, fetch)
    assert slots.whole(run_dir) == []
    (verdict,) = slots.torn(run_dir)
    assert verdict.name == "a"
    assert verdict.problems == ("MANIFEST: is missing",)


def test_nobody_else_can_read_it_and_nothing_of_somebody_elses_is_used(run_dir: Path) -> None:
    fill(run_dir, 1)
    home = slots.home(run_dir)
    assert home.stat().st_mode & 0o777 == 0o700
    home.chmod(0o777)
    assert slots.whole(run_dir) == []
    assert not slots.discard(run_dir)
    with pytest.raises(PermissionError):
        slots.make_home(run_dir)
    home.chmod(0o700)
    assert len(slots.whole(run_dir)) == 1


def test_a_link_in_its_place_is_not_followed(run_dir: Path, tmp_path: Path) -> None:
    home = slots.home(run_dir)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    home.symlink_to(elsewhere)
    try:
        with pytest.raises(PermissionError):
            slots.make_home(run_dir)
        assert not slots.discard(run_dir)
    finally:
        home.unlink()


def test_discarded_the_memory_is_free_again(run_dir: Path) -> None:
    fill(run_dir, 1)
    assert slots.discard(run_dir)
    assert not slots.home(run_dir).exists()
    assert slots.whole(run_dir) == []


@pytest.mark.parametrize(
    ("state_bytes", "free_bytes", "count"),
    [(8, 100, 2), (8, 16, 2), (8, 15, 1), (8, 8, 1), (8, 7, 0), (8, 0, 0)],
)
def test_two_slots_or_one_or_none(state_bytes: int, free_bytes: int, count: int) -> None:
    assert slots.count_for(state_bytes, free_bytes) == count


def test_what_is_free_leaves_the_machine_its_reserve(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = host_memory.Memory(16_000 * _MEGABYTE, 2_500 * _MEGABYTE)
    monkeypatch.setattr(host_memory, "read", lambda: memory)
    space = os.statvfs(slots.SHM)
    expected = min(space.f_bavail * space.f_frsize, 500 * _MEGABYTE)
    assert slots.free_bytes(run_dir) == expected
    memory = host_memory.Memory(16_000 * _MEGABYTE, 1_500 * _MEGABYTE)
    assert slots.free_bytes(run_dir) == 0
    # what a run has taken already, it may keep
    fill(run_dir, 1)
    assert 0 < slots.free_bytes(run_dir) < 1 << 20


def test_of_a_full_memory_a_copy_says_so(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = torch.empty(1 << 16).expand(1 << 30, 1 << 16)
    with pytest.raises(OSError, match="No space left"):
        snapshot.fill(
            slots.make_home(run_dir) / "a",
            {"model": {"w": huge}},
            Manifest("toy", 1, 1, CREATED, "memory", None, "cafe"),
        )
    assert slots.whole(run_dir) == []
