"""What the campaign is made of. To add a fault: write a module with ``run``, and list it.

A section runs in a process of its own, which may fork, mount and kill as it likes, and imports
only its own module: some read torch, and some must not.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.row import Row


@dataclass(frozen=True)
class Section:
    """One kind of campaign, and how often in the long form and in the short one; 0: not at all."""

    name: str
    #: of this package; has run(seed, how many, an empty directory) -> rows
    module: str
    long: int
    short: int
    #: the engine of the daemon, where a section runs under several; else empty
    engine: str = ""

    def run(self, seed: int, count: int, root: Path) -> list[Row]:
        """Inject its faults, ``count`` times, in the empty directory ``root``."""
        module = importlib.import_module(f"tests.campaign.{self.module}")
        choice = (self.engine,) if self.engine else ()
        rows: list[Row] = module.run(seed, count, root, *choice)
        return rows


SECTIONS = (
    Section("trainer-kills", "trainer_kills", long=500, short=12),
    Section("daemon-kills", "house_faults", long=42, short=3, engine="local"),
    Section("ray-kills", "house_faults", long=20, short=0, engine="ray"),
    Section("hangs", "house_hangs", long=10, short=2, engine="local"),
    Section("ray-hangs", "house_hangs", long=12, short=0, engine="ray"),
    Section("store-kills", "store_kills", long=240, short=8),
    Section("copy-kills", "copy_kills", long=240, short=8),
    Section("crash-states", "crash_states", long=6000, short=300),
    Section("damage", "damage", long=60, short=4),
    Section("house", "rig_faults", long=40, short=2),
    Section("clocks", "clock_faults", long=6, short=1),
    Section("reboots", "reboot_faults", long=12, short=1),
    Section("ups", "ups_faults", long=4, short=1),
    Section("volumes", "volume_faults", long=4, short=0),
    Section("disk", "disk_faults", long=8, short=1),
    Section("numbers", "number_faults", long=20, short=1),
    # the short form leaves it to tests/story/test_out_of_memory.py
    Section("memory", "memory_faults", long=8, short=0),
)
