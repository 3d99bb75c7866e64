"""kill -9 of a real process that saves in a loop: nothing that it acknowledged is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.unit.checkpoint.plain import content, end, spawn
from trainer.checkpoint import catalog
from trainer.checkpoint.lease import raise_fence

KILLS = 8


def lines_until_killed(run_dir: Path, keep: int, after_lines: int) -> list[str]:
    """All that a saving child said before SIGKILL, which comes after some of its lines."""
    child = spawn("save", run_dir, keep)
    assert child.stdout is not None
    said = []
    try:
        for _ in range(after_lines):
            line = child.stdout.readline()
            assert line, "the child died by itself"
            said.append(line.strip())
    finally:
        rest = end(child)
    # A last line without its newline was torn by the kill and acknowledges nothing.
    return said + rest.split("\n")[:-1]


@pytest.mark.parametrize("keep", [1000, 2])
def test_kill_9_at_random_moments_loses_nothing_acknowledged(run_dir: Path, keep: int) -> None:
    chance = random.Random(keep)
    alive: set[str] = set()
    for _ in range(KILLS):
        said = lines_until_killed(run_dir, keep, chance.randrange(1, 120))
        alive |= {line.split()[1] for line in said if line.startswith("saved ")}
        alive -= {line.split()[1] for line in said if line.startswith("deleted ")}
        listed = catalog.list_checkpoints(run_dir)
        for entry in listed:
            assert catalog.verify(entry.path).ok
            assert (entry.path / "model.bin").read_bytes() == content(entry.step)
        assert catalog.damaged(run_dir) == []
        names = {entry.name for entry in listed}
        # A deletion that was under way may be done without having been told.
        assert set(sorted(alive)[-keep:]) <= names
        alive &= names
    raise_fence(run_dir, 1 << 20)
    catalog.sweep(run_dir)
    kinds = {path.name.split("-")[0] for path in (run_dir / "checkpoints").iterdir()}
    assert kinds == {"gen"}
    assert alive
