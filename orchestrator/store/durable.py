"""What was written to a file, or which names a directory has, outlives a power cut from here on."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have the kernel write ``path``, a file or a directory, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
