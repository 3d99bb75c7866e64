"""The engine's log file, bounded: at most two files of a few megabytes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class BoundedLog:
    """A file that children append to, and that is cut when it has grown too long."""

    path: Path
    limit_bytes: int = 4 << 20

    def open(self) -> BinaryIO:
        """For appending; whoever inherits it goes on writing at the end after a cut, too."""
        self.bound()
        return self.path.open("ab")

    def bound(self) -> None:
        """Move a log that is too long aside, into the one older file that is kept."""
        try:
            if self.path.stat().st_size <= self.limit_bytes:
                return
            # copied and cut, not renamed: the writers keep their open file
            shutil.copyfile(self.path, self.path.with_suffix(".log.1"))
            os.truncate(self.path, 0)
        except OSError:
            return  # no log yet, or a full disk: no reason to stop training
