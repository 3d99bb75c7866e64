"""The house burns down; the run goes on in another one, and ends with the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.story.conftest import MakeHouse, Undisturbed
from tests.story.house import House, digest, wait_for
from trainer.checkpoint import mirror
from trainer.checkpoint.mirror import open_place

STEPS = 2000


def mirrored_steps(nas: Path) -> list[int]:
    return [name.step for name in mirror.candidates(open_place(str(nas), "tiny"))]


@pytest.mark.long  # three lives of a daemon and a run of 2000 steps
def test_a_run_survives_the_loss_of_its_machine_and_then_of_its_disk(
    make_house: MakeHouse, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    nas = tmp_path / "nas"
    nas.mkdir()
    tables = f'[checkpoint]\nmirror = "{nas}"\nmirror_every = "0s"\n'
    first: House = make_house("first", tables=tables).start()
    first.submit(steps=STEPS)
    wait_for("two copies in the mirror", lambda: len(mirrored_steps(nas)) > 1)
    first.kill()
    first.wait_gone()
    shutil.rmtree(first.state)
    newest = open_place(str(nas), "tiny").generations()[0]
    model = nas / "tiny" / "checkpoints" / str(newest) / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x99")

    second: House = make_house("second", tables=tables).start()
    done = second.homerun("checkpoints", "restore", "tiny", "--from", str(nas))
    assert done.returncode == 0, done.stderr
    assert "Restored tiny at step" in done.stdout
    told = [item for item in second.journal() if item["kind"] == "mirror_damaged"]
    assert "model.safetensors: its checksum does not match" in told[0]["message"]
    standing = max(mirrored_steps(nas))
    wait_for("a newer copy in the mirror", lambda: max(mirrored_steps(nas)) > standing)

    second.kill()
    second.wait_gone()
    shutil.rmtree(second.run_dir())
    second.start()
    run = second.wait_finished(seconds=240)
    assert run["steps"] == STEPS
    assert digest(second.run_dir(), STEPS) == undisturbed(STEPS)
    kinds = [item["kind"] for item in second.journal()]
    assert kinds.count("restored") == 2
    assert second.terminate() == 0
