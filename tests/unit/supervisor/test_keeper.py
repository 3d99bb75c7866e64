"""The keeper reads back, lets go, and finds damage, while nobody waits for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain import Sample
from orchestrator.errors import NotFound
from orchestrator.keeper import Keeper
from orchestrator.recovery import index_checkpoints
from orchestrator.settings.checkpoint_config import CheckpointConfig
from orchestrator.supervisor import Count
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.checkpoint import catalog, retention
from trainer.checkpoint.disk import RealDisk
from trainer.contract import messages as m


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.submit(checkpoint={"keep": 2})
    yield rig
    rig.store.close()


def save_many(rig: Rig, count: int) -> list[catalog.Entry]:
    run_dir = rig.supervisor.paths.run("month")
    entries = [commit_plain(run_dir, step) for step in range(1, count + 1)]
    index(rig)
    return entries


def index(rig: Rig) -> None:
    index_checkpoints(rig.store, rig.commands.runs(), rig.supervisor.paths.runs, rig.clock.now())


def keeper_with(rig: Rig, **options: object) -> Keeper:
    config = CheckpointConfig.model_validate(options)
    inbox = rig.supervisor.inbox
    return Keeper(
        rig.store,
        rig.supervisor.paths,
        rig.clock,
        config,
        wake=lambda: None,
        count=lambda run, total: inbox.put(Count(run, total)),
    )


def steps(rig: Rig) -> list[int]:
    return [row.step for row in rig.commands.checkpoints("month")]


def test_the_specs_newest_and_the_configured_history_stay(rig: Rig) -> None:
    save_many(rig, 20)
    gone = keeper_with(rig, history=2, best=0).retain("month")
    assert steps(rig) == [20, 19, 17]
    assert len(gone) == 17
    index(rig)
    assert "checkpoint_gone" not in rig.kinds()


def test_the_best_by_the_learning_curve_stays(rig: Rig) -> None:
    save_many(rig, 8)
    now = rig.clock.now()
    with rig.store.transaction() as tx:
        tx.samples.add("month", [Sample(3, now, 2.0, 1.0, 0.8), Sample(5, now, 2.0, 1.0, 0.9)])
    keeper_with(rig, history=0).retain("month")
    assert steps(rig) == [8, 7, 3]


def test_a_budget_and_a_full_disk_cost_the_history(rig: Rig) -> None:
    save_many(rig, 8)
    keeper = keeper_with(rig, history=3, best=0)
    keeper.retain("month")
    assert steps(rig) == [8, 7, 5, 1]
    keeper.retain("month", pressed=True)
    assert steps(rig) == [8, 7]


def test_a_fresh_checkpoint_that_does_not_read_back_is_named_and_costs_no_older_one(
    rig: Rig,
) -> None:
    entries = save_many(rig, 3)
    path = entries[2].path / "optimizer.bin"
    path.write_bytes(b"\x00" * path.stat().st_size)
    keeper_with(rig, history=0, best=0).retain("month")
    assert steps(rig) == [2, 1]
    told = [item for item in rig.commands.journal(limit=99) if item.kind == "checkpoint_damaged"]
    assert told[0].severity == "error"
    assert "optimizer.bin: its checksum does not match" in told[0].message
    rig.settle()
    assert rig.supervisor.books.total("month", "damaged_checkpoints") == 1
    assert entries[2].path.with_name("damaged" + entries[2].name[3:]).exists()


def test_the_scrub_reads_what_was_read_long_ago_and_names_every_damaged_file(rig: Rig) -> None:
    entries = save_many(rig, 4)
    keeper = keeper_with(rig, scrub_every=3600.0)
    first = keeper.scrub()
    assert (first.checkpoints, first.damaged) == (4, ())
    assert keeper.scrub().checkpoints == 0
    long_ago = rig.clock.now().timestamp() - 4000
    for entry in entries[1:]:
        os.utime(entry.path / catalog.VERIFIED, (long_ago, long_ago))
    (entries[1].path / "model.bin").write_bytes(b"other")
    data = entries[3].path / "model.bin"
    data.write_bytes(data.read_bytes()[::-1])
    keeper._tell(again := keeper.scrub())
    assert again.checkpoints == 2
    assert {verdict.name for verdict in again.damaged} == {entries[1].name, entries[3].name}
    told = rig.commands.journal(limit=99)[-1]
    assert (told.kind, told.severity) == ("scrubbed", "error")
    assert entries[1].name in told.message
    assert steps(rig) == [3, 1]


def test_it_is_asked_after_each_save_and_nobody_waits(rig: Rig) -> None:
    rig.train()
    entries = save_many(rig, 5)
    newest = entries[-1]
    rig.engine.event(m.Saved(newest.step, newest.name, newest.size_bytes, 0.1, "schedule"))
    rig.settle()
    assert len(steps(rig)) == 5
    rig.keeper.start()
    rig.keeper.stop()
    assert steps(rig) == [5, 4, 2, 1]


def test_the_plan_names_reasons_and_prune_carries_it_out(rig: Rig) -> None:
    entries = save_many(rig, 30)
    rig.commands.pin(None, entries[3].name, pinned=True, source="test")
    plan = rig.commands.plan_retention("month")
    whys = {choice.step: choice.why for choice in plan}
    assert whys[4] == "pinned"
    assert whys[3] == "no reason to keep it"
    assert len(steps(rig)) == 30
    done = rig.commands.prune("month", "test")
    assert done == plan
    assert steps(rig) == [choice.step for choice in plan if choice.keep]
    rig.commands.pin("month", entries[3].name, pinned=False, source="test")
    assert not retention.is_pinned(entries[3].path)
    assert {"pinned", "unpinned", "pruned"} <= set(rig.kinds())


def test_what_is_not_there_cannot_be_pinned(rig: Rig) -> None:
    entries = save_many(rig, 1)
    with pytest.raises(NotFound, match="did you mean"):
        rig.commands.pin(None, entries[0].name[:-1], pinned=True, source="test")


def test_what_a_person_has_verified_as_damaged_is_set_aside_counted_and_no_longer_listed(
    rig: Rig,
) -> None:
    entries = save_many(rig, 3)
    keeper_with(rig).retain("month")
    data = entries[2].path / "model.bin"
    data.write_bytes(data.read_bytes()[::-1])
    verdicts = rig.commands.verify_checkpoints("month", None)
    assert [(verdict.step, verdict.ok) for verdict in verdicts] == [
        (3, False),
        (2, True),
        (1, True),
    ]
    assert steps(rig) == [2, 1]
    assert entries[2].path.with_name("damaged" + entries[2].name[3:]).exists()
    told = [item for item in rig.commands.journal(limit=99) if item.kind == "checkpoint_damaged"]
    assert len(told) == 1
    rig.settle()
    assert rig.supervisor.books.total("month", "damaged_checkpoints") == 1


def test_a_scrub_without_file_handles_sets_nothing_aside(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_many(rig, 3)

    def exhausted(self: RealDisk, path: Path) -> int:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    keeper = keeper_with(rig)
    with monkeypatch.context() as patch:
        patch.setattr(RealDisk, "open", exhausted)
        keeper._tell(found := keeper.scrub())
        keeper._examine_newest("month")
    assert (found.damaged, len(found.unread)) == ((), 3)
    told = rig.commands.journal(limit=99)[-1]
    assert told.severity == "warning"
    assert "is left alone: MANIFEST: cannot be read: Too many open files" in told.message
    assert len(catalog.list_checkpoints(rig.supervisor.paths.run("month"))) == 3


def test_a_start_names_what_is_damaged_and_what_the_store_did_not_know(rig: Rig) -> None:
    entries = save_many(rig, 3)
    (entries[1].path / "model.bin").unlink()
    new = commit_plain(rig.supervisor.paths.run("month"), 9)
    index(rig)
    assert steps(rig) == [9, 3, 1]
    told = {item.kind: item for item in rig.commands.journal(limit=99)}
    assert told["checkpoint_adopted"].message.endswith(f"until now: {new.name}.")
    assert "is set aside: model.bin: is missing" in told["checkpoint_damaged"].message
    assert "checkpoint_gone" not in told
    assert entries[1].path.with_name("damaged" + entries[1].name[3:]).exists()
    with rig.store.transaction() as tx:
        assert tx.counters.all()["month"]["damaged_checkpoints"] == 1


def test_what_the_trainer_sets_aside_is_counted_and_forgotten(rig: Rig) -> None:
    entries = save_many(rig, 2)
    rig.settle()
    attempt = rig.engine.running
    assert attempt is not None
    rig.engine.event(m.Hello("month", attempt, 4711))
    catalog.quarantine(entries[1].path, "as the trainer does")
    rig.engine.event(m.Notice("checkpoint_damaged", f"checkpoint {entries[1].name}", "error"))
    rig.engine.event(m.Ready(1, 100, 10, 1e6, entries[0].name, {}, 1e12, "test"))
    rig.settle()
    assert steps(rig) == [1]
    assert rig.supervisor.books.total("month", "damaged_checkpoints") == 1


def test_what_a_broken_disk_neither_reads_nor_renames_is_not_said_to_be_set_aside(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that has shut down says EIO to everything; mounted again, all is whole."""
    newest = save_many(rig, 2)[-1]

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    keeper = keeper_with(rig)
    verdict = catalog.Verdict(newest.name, newest.step, False, ("MANIFEST: Input/output error",))
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "quarantine", broken)
        for _ in range(3):
            keeper.set_aside("month", verdict)
    told = [item for item in rig.commands.journal(limit=99) if item.kind == "checkpoint_damaged"]
    assert len(told) == 1
    assert "cannot be set aside (Input/output error)" in told[0].message
    assert steps(rig) == [2, 1]
    keeper.set_aside("month", verdict)
    assert steps(rig) == [1]
