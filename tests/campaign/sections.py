"""What the campaign is made of. To add a fault: write a function that returns rows, and list it.

A section runs in a process of its own, which may fork, mount and kill as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.row import Row

#: (seed, how many, an empty directory) -> rows
Run = Callable[[int, int, Path], list[Row]]


@dataclass(frozen=True)
class Section:
    """One kind of campaign, and how often in the long form and in the short one; 0: not at all."""

    name: str
    run: Run
    long: int
    short: int


def _trainers(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import trainer_kills

    return trainer_kills.run(seed, count, root)


def _store(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import store_kills

    return store_kills.run(seed, count, root)


def _copies(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import copy_kills

    return copy_kills.run(seed, count, root)


def _damage(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import damage

    return damage.run(seed, count, root)


def _disk(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import disk_faults

    return disk_faults.run(seed, count, root)


def _memory(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import memory_faults

    return memory_faults.run(seed, count, root)


def _local(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import house_faults

    return house_faults.kills(seed, count, root, "local", steps=4000 if count > 10 else 400)


def _ray(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import house_faults

    return house_faults.kills(seed, count, root, "ray", steps=1500)


def _hangs(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import house_hangs

    return house_hangs.hangs(seed, count, root, "local", steps=2000 if count > 4 else 400)


def _ray_hangs(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import house_hangs

    return house_hangs.hangs(seed, count, root, "ray", steps=1500)


def _crash_states(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import crash_states

    return crash_states.run(seed, count)


def _rig(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import rig_faults

    return rig_faults.run(seed, count, root)


def _numbers(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import number_faults

    return number_faults.run(seed, count, root)


def _clocks(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import clock_faults

    return clock_faults.run(seed, count, root)


def _reboots(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import reboot_faults

    return reboot_faults.run(seed, count, root)


def _ups(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import ups_faults

    return ups_faults.run(seed, count, root)


def _volumes(seed: int, count: int, root: Path) -> list[Row]:
    from tests.campaign import volume_faults

    return volume_faults.run(seed, count, root)


SECTIONS = (
    Section("trainer-kills", _trainers, long=500, short=12),
    Section("daemon-kills", _local, long=42, short=3),
    Section("ray-kills", _ray, long=20, short=0),
    Section("hangs", _hangs, long=10, short=2),
    Section("ray-hangs", _ray_hangs, long=12, short=0),
    Section("store-kills", _store, long=240, short=8),
    Section("copy-kills", _copies, long=240, short=8),
    Section("crash-states", _crash_states, long=6000, short=300),
    Section("damage", _damage, long=60, short=4),
    Section("house", _rig, long=40, short=2),
    Section("clocks", _clocks, long=6, short=1),
    Section("reboots", _reboots, long=12, short=1),
    Section("ups", _ups, long=4, short=1),
    Section("volumes", _volumes, long=4, short=0),
    Section("disk", _disk, long=8, short=1),
    Section("numbers", _numbers, long=20, short=1),
    # the short form leaves it to tests/story/test_out_of_memory.py
    Section("memory", _memory, long=8, short=0),
)
