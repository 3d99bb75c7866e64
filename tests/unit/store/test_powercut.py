"""A power cut at any system call of the store, leaving any legal disk, loses no transaction."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store import Store
from tests.powercut import tracing
from tests.powercut.blocks import Machine
from tests.powercut.store import (
    BACKUP,
    NAME,
    findings,
    look,
    record_store,
    transactions_in,
)
from tests.powercut.tracing import Call, without
from tests.unit.store.world import submit


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """Hundreds of disks are laid out; in memory where the machine has a place for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def calls(scratch: Path) -> list[Call]:
    """First start, eight transactions, two backups and the end of the real store."""
    tracing.require()
    return record_store(scratch / "state", 8)


def test_no_power_cut_loses_an_acknowledged_transaction(calls: list[Call], scratch: Path) -> None:
    states = 0
    for found in findings(calls, scratch / "state", scratch, seed=1, drawn=1, share=0.12):
        assert not found.problem, found
        states += 1
    assert states > 120


@pytest.mark.long
def test_no_power_cut_loses_an_acknowledged_transaction_whatever_is_drawn(
    calls: list[Call], scratch: Path
) -> None:
    states = 0
    for seed in range(4):
        for found in findings(calls, scratch / "state", scratch, seed=seed, drawn=4):
            assert not found.problem, found
            states += 1
    assert states > 6000


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_the_campaign_notices_a_store_that_syncs_less(scratch: Path, synchronous: str) -> None:
    """What many recommend for speed loses what was acknowledged."""
    tracing.require()
    state = scratch / synchronous
    calls = record_store(state, 2, synchronous)
    acknowledged = next(at for at, call in enumerate(calls) if str(call.path) == "done 1")
    cut = calls[: acknowledged + 1]
    found = list(findings(cut, state, scratch, seed=1, drawn=0, since=acknowledged))
    assert [one.problem for one in found].count("lost: 0 transactions of 1") > 3


@pytest.mark.parametrize("forgotten", [f".{BACKUP}.part", "state"])
def test_the_campaign_notices_a_backup_that_is_not_synced(
    calls: list[Call], scratch: Path, forgotten: str
) -> None:
    begin = next(at for at, call in enumerate(calls) if call.path.name.endswith(".part"))
    end = next(at for at, call in enumerate(calls) if str(call.path) == "backup 4")
    lacking = without(
        calls[begin : end + 1],
        lambda call: call.kind == "sync" and call.path.name == forgotten,
    )
    cut = [*calls[:begin], *lacking]
    last = len(cut) - 1
    found = findings(cut, scratch / "state", scratch, seed=1, drawn=0, since=last)
    problems = [one.problem for one in found]
    assert any("the backup" in problem for problem in problems), problems


def test_a_power_cut_in_the_very_first_start_leaves_a_store_that_opens(
    calls: list[Call], scratch: Path
) -> None:
    """The file is there in part and its rollback journal with it: it must be taken back."""
    machine = Machine(scratch / "state")
    for call in calls:
        machine.apply(call)
        if call.kind == "write" and call.path.name == NAME:
            break
    image = machine.image_of_everything()
    assert set(image) == {NAME, f"{NAME}-journal"}
    place = scratch / "first"
    place.mkdir()
    for name, content in image.items():
        (place / name).write_bytes(content)
    store = Store.open(f"sqlite:///{place / NAME}")
    submit(store, "a")
    store.close()


def test_the_checker_sees_half_a_transaction(calls: list[Call], scratch: Path) -> None:
    machine = Machine(scratch / "state")
    for call in calls:
        machine.apply(call)
    place = scratch / "half"
    place.mkdir()
    for name, content in machine.image_of_everything().items():
        (place / name).write_bytes(content)
    assert (transactions_in(place / NAME), look(place, 8, 8)) == (8, (8, ""))
    store = Store.open(f"sqlite:///{place / NAME}")
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM journal WHERE id = (SELECT max(id) FROM journal)")
    store.close()
    assert look(place, 8, 8) == (0, "the store: half done")
