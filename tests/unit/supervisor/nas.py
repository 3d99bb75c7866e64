"""A mirror on a NAS: runs that have something to copy, and what is where."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.checkpoint.plain import commit_plain
from tests.unit.supervisor.rig import SPEC, Rig
from trainer.checkpoint import catalog, mirror
from trainer.checkpoint.mirror import open_place
from trainer.contract import spec as run_spec


def begin(rig: Rig, steps: int) -> list[catalog.Entry]:
    """A run that was trained a little: its record, and a checkpoint a step."""
    if not rig.commands.runs():
        rig.submit()
    run_dir = rig.supervisor.paths.run("month")
    run_dir.mkdir(parents=True, exist_ok=True)
    spec = run_spec.from_dict(SPEC)
    record = {"spec": spec.to_dict(), "spec_digest": spec.digest()}
    (run_dir / "run.json").write_text(json.dumps(record))
    there = len(catalog.list_checkpoints(run_dir))
    entries = [
        commit_plain(run_dir, there + at + 1, run="month", digest=spec.digest())
        for at in range(steps)
    ]
    with rig.store.transaction() as tx:
        from orchestrator.recovery import row_of

        for entry in entries:
            tx.checkpoints.add(row_of("month", entry))
    return entries


def there(nas: Path) -> list[int]:
    return [name.step for name in mirror.candidates(open_place(str(nas), "month"))]


def local(rig: Rig) -> list[int]:
    return [entry.step for entry in catalog.list_checkpoints(rig.supervisor.paths.run("month"))]


def kinds(rig: Rig) -> list[str]:
    return [kind for kind in rig.kinds() if kind.startswith(("mirror", "restored", "hold"))]


def rescue(rig: Rig) -> None:
    """What the keeper's thread does when it was asked."""
    rig.keeper._rescue_all()
    rig.settle()
