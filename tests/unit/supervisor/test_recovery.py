"""The index of checkpoints follows the disk, whatever the last daemon wrote into it."""

from __future__ import annotations

from pathlib import Path

import torch

from orchestrator.domain import Checkpoint
from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import Rig
from trainer.checkpoint import catalog, writer
from trainer.checkpoint.lease import Lease
from trainer.clock import SystemClock


def save(run_dir: Path, step: int) -> catalog.Entry:
    clock = SystemClock()
    with Lease.take(run_dir, 1, clock=clock) as lease:
        return writer.save(
            run_dir,
            {"model": {"w": torch.zeros(3)}, "optimizer": {"m": torch.zeros(3)}},
            {},
            run="month",
            step=step,
            reason="schedule",
            lease=lease,
            spec_digest="0",
            parent="",
            clock=clock,
        )


def test_what_is_whole_on_disk_is_adopted_and_what_is_gone_is_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.submit()
    entry = save(rig.supervisor.paths.run("month"), 7)
    with rig.store.transaction() as tx:
        tx.checkpoints.add(
            Checkpoint("month", "gen-00000003-gone", 3, rig.clock.now(), 1, 1, "schedule")
        )
    rig.crash()
    assert [row.name for row in rig.commands.checkpoints("month")] == [entry.name]
    gone = [item for item in rig.commands.journal(limit=99) if item.kind == "checkpoint_gone"]
    assert "gen-00000003-gone" in gone[0].message
    snapshot = rig.settle()
    assert snapshot.run is not None
    assert snapshot.run.checkpoint is not None
    assert snapshot.run.checkpoint.step == 7
    rig.store.close()


def test_what_a_writer_committed_after_its_trainers_death_is_shown_as_the_newest(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.submit()
    rig.train(0, 8)
    # its writer, under the fence of this very attempt
    entry = commit_plain(rig.supervisor.paths.run("month"), 7)
    rig.die()
    rig.pass_time(60)
    rig.train(7)
    shown = rig.settle().run
    assert shown is not None
    assert shown.checkpoint is not None
    assert (shown.checkpoint.name, shown.checkpoint.step) == (entry.name, 7)
    rig.store.close()
