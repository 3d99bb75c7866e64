"""How PyTorch's CPU threads wait for each other."""

from __future__ import annotations

import os


def share_the_cores() -> None:
    """Let waiting threads sleep soon instead of spinning; before PyTorch is imported.

    A spinning thread of libgomp holds a core that another program may need. On two cores with one
    busy neighbour that made training five to ten times slower, against a few per cent at most on
    a quiet machine. It changes no byte. A person's own settings win.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
