"""What every bench prints first: the machine and the command."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil


def header(command: str) -> str:
    """The machine in one line, the command in the next."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {sys.version.split()[0]}, "
        f"load {load:.1f} before\n$ {command}"
    )


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} .. {max(values):.4g})"
