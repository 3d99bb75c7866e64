"""The tools of the power cuts say what is missing here, and never fail for a missing privilege."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.powercut import loopdisk, tracing
from tests.powercut.blockdisk import Entry, disks_after_a_cut
from tests.powercut.blocks import Machine
from tests.powercut.tracing import Call


def test_without_strace_the_tests_are_skipped_and_in_ci_they_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="DID NOT RUN"):
        tracing.require()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install strace"):
        tracing.require()


def test_who_is_not_root_cuts_no_power(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CI", "true")
    loopdisk.unusable.cache_clear()
    try:
        with pytest.raises(pytest.skip.Exception, match=r"only root mounts .* NO REAL POWER CUT"):
            loopdisk.require("ext4")
    finally:
        loopdisk.unusable.cache_clear()


def machine(*calls: Call) -> Machine:
    """One file ``a`` in a directory whose names are durable, and then these calls."""
    made = Machine(Path("/d"))
    for call in (Call("create", Path("/d/a")), Call("sync", Path("/d")), *calls):
        made.apply(call)
    return made


def contents(made: Machine) -> set[bytes | None]:
    return {image.get("a") for image in made.images(random.Random(1), 200)}


def test_a_synced_write_is_there_on_every_disk() -> None:
    write = Call("write", Path("/d/a"), 0, b"abc")
    assert contents(machine(write, Call("sync", Path("/d/a")))) == {b"abc"}


def test_an_unsynced_write_is_there_or_not_or_zeros() -> None:
    assert contents(machine(Call("write", Path("/d/a"), 0, b"abc"))) == {b"", b"abc", bytes(3)}


def test_a_later_write_may_be_there_without_the_earlier_one() -> None:
    first = Call("write", Path("/d/a"), 0, b"ab")
    second = Call("write", Path("/d/a"), 2, b"cd")
    assert b"\0\0cd" in contents(machine(first, second))


def test_a_write_of_many_sectors_may_be_torn_anywhere() -> None:
    data = bytes([1]) * 512 + bytes([2]) * 512
    found = contents(machine(Call("write", Path("/d/a"), 0, data)))
    assert bytes(512) + bytes([2]) * 512 in found
    assert bytes([1]) * 512 + bytes(512) in found


def test_a_rename_without_a_sync_of_the_directory_may_not_have_happened() -> None:
    made = machine(Call("rename", Path("/d/a"), target=Path("/d/b")))
    names = {tuple(sorted(image)) for image in made.images(random.Random(1), 20)}
    assert names == {("a",), ("b",)}
    made.apply(Call("sync", Path("/d")))
    assert {tuple(image) for image in made.images(random.Random(1), 20)} == {("b",)}


def test_blocks_before_the_last_flush_are_there_on_every_disk() -> None:
    log = [Entry(0, b"a" * 512), Entry(0, b""), Entry(-1, b"done 1"), Entry(512, b"b" * 512)]
    disks = list(disks_after_a_cut(bytes(1024), log, random.Random(3), 200))
    after = {disk for marks, disk in disks if marks == ("done 1",)}
    assert after == {b"a" * 512 + bytes(512), b"a" * 512 + b"b" * 512}
    assert (bytes(1024)) in {disk for marks, disk in disks if not marks}
