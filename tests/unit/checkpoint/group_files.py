"""The files in which the kernel tells of memory control groups."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoint.control_group import Files


class GroupFiles:
    """Of version 1 or 2, under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = Files(root / "cgroup", root / "mounts")

    def v1(self, path: str) -> None:
        """We are in there."""
        self._belong(f"4:memory:{path}", f"cgroup {self.root}/groups cgroup rw,memory 0 0")

    def v2(self, path: str) -> None:
        """We are in there."""
        self._belong(f"0::{path}", f"cgroup2 {self.root}/groups cgroup2 rw,nosuid 0 0")

    def write(self, folder: str, **texts: str) -> None:
        """The files memory.NAME of a group."""
        where = self.root / "groups" / folder
        where.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (where / f"memory.{name}").write_text(f"{text}\n")

    def _belong(self, line: str, mounts: str) -> None:
        self.files.groups.write_text(f"7:cpu:/elsewhere\n{line}\n")
        self.files.mounts.write_text(f"proc /proc proc rw 0 0\n{mounts}\nhalf a line\n")
