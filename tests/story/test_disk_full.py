"""A disk that fills up stops neither the training nor the daemon, and heals by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.story.conftest import MakeHouse
from tests.story.house import House

LONG = 1_000_000


@pytest.fixture
def small_disk(make_house: MakeHouse) -> Iterator[House]:
    """A house whose checkpoints lie on a tmpfs that holds three of them and not four."""
    house: House = make_house()
    place = house.run_dir() / "checkpoints"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4300k", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert os.environ.get("CI") != "true", f"CI must be able to mount: {done.stderr}"
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    yield house
    house.close()
    subprocess.run(["umount", str(place)], check=True)


def resize(place: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def test_a_full_disk_is_told_training_goes_on_and_saves_again_when_there_is_room(
    small_disk: House,
) -> None:
    house = small_disk.start()
    house.submit(steps=LONG, every_seconds="0.3")
    failed = house.wait_status(
        "a save that fails",
        lambda s: s["counters"].get("tiny", {}).get("checkpoint_failures"),
    )
    house.wait_status("more steps", lambda s: s["run"]["step"] > failed["run"]["step"] + 5)
    done = house.homerun("checkpoints", "save")
    assert done.returncode == 77
    assert "not saved" in done.stderr
    assert "room" in done.stderr
    assert [a["end"] for a in house.run_record()["attempts"]] == [None]
    kept = house.homerun("checkpoints", "verify")
    assert kept.returncode == 0, kept.stdout

    resize(house.run_dir() / "checkpoints", "50m")
    assert house.homerun("checkpoints", "save").returncode == 0
