"""The volumes that homerun writes to: how much room is left on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Volume:
    """One file system. ``free_bytes`` is what a user who is not root may still write."""

    name: str
    free_bytes: int
    size_bytes: int


class Volumes(Protocol):
    """One look a call."""

    def read(self) -> tuple[Volume, ...]:
        """The volumes that answer; one that does not is left out, because unknown is not zero."""


class MountedVolumes:
    """The file systems that hold these directories, each told once, by its first name."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        self._directories = directories

    def read(self) -> tuple[Volume, ...]:
        found: dict[int, Volume] = {}
        for name, path in self._directories.items():
            try:
                device, space = path.stat().st_dev, os.statvfs(path)
            except OSError:
                continue
            free, size = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
            found.setdefault(device, Volume(name, free, size))
        return tuple(found.values())


class FakeVolumes:
    """Volumes that are as large as they are told to be."""

    def __init__(self, *volumes: Volume) -> None:
        self.volumes = volumes

    def read(self) -> tuple[Volume, ...]:
        return self.volumes
