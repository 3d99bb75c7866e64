"""What a run's bytes depend on besides its spec and its data: versions, threads, device."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from trainer.contract.spec import TrainSpec

_WORDS = {
    "python": "Python",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "cuda": "CUDA",
    "threads": "CPU threads",
    "cpu_capability": "the CPU's vector instructions",
    "device": "the kind of device",
    "device_name": "the device",
    "compile": "torch.compile",
    "deterministic": "deterministic kernels",
    "sequences_at_once": "sequences computed at once",
}


class NoDeviceError(Exception):
    """The spec asks for a device that this machine does not have."""


def device_for(name: str) -> torch.device:
    """The device that the spec names; "auto" takes CUDA when there is any.

    Raises:
        NoDeviceError: CUDA is asked for and not to be had.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        why = "this PyTorch is a CPU build" if torch.version.cuda is None else "no GPU answers"
        raise NoDeviceError(f'the spec says device = "cuda", but {why} (PyTorch {_torch()})')
    return torch.device(name)


def precision_for(spec: TrainSpec, device: torch.device) -> str:
    """The recipe: the spec's; for "auto" what suits the device.

    Ada cards (RTX 40, compute capability 8.9) multiply in int8 at four times their bf16 rate;
    other CUDA devices take bf16-8bit; a CPU has memory enough for bf16 with masters.
    """
    if spec.precision != "auto":
        return spec.precision
    if device.type != "cuda":
        return "bf16"
    return "int8" if torch.cuda.get_device_capability(device) == (8, 9) else "bf16-8bit"


def threads_for(spec: TrainSpec, pinned: int) -> int:
    """CPU threads to compute with: the spec's, else those of the first start, else all cores."""
    return spec.threads or pinned or available_cores()


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def settle(device: torch.device, threads: int, compiled: bool = False) -> None:
    """Give PyTorch its threads, and on a CPU its deterministic kernels, which cost nothing there.

    On CUDA some kernels of the backward pass stay as fast and as unordered as they are; the
    environment says so.
    """
    torch.set_num_threads(threads)
    # can be said only once in a process, and only before the first parallel work
    with contextlib.suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    on_cpu = device.type == "cpu"
    if compiled:
        # also tells the compiler, whose import takes seconds
        torch.use_deterministic_algorithms(on_cpu, warn_only=True)
    else:
        torch.set_deterministic_debug_mode("warn" if on_cpu else "default")
    # else every new tensor is first filled with NaN, for programs that read what they never wrote;
    # PyTorch makes this attribute at run time, out of the type checker's sight
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def describe(device: torch.device, compiled: bool) -> dict[str, Any]:
    """The environment as plain JSON types, after ``settle``."""
    return {
        "python": platform.python_version(),
        "torch": _torch(),
        "numpy": metadata.version("numpy"),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
        "device_name": device_name(device),
        "compile": compiled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def compare(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Each difference in words; empty when the same bytes are to be expected."""
    keys = [*now, *(key for key in before if key not in now)]
    return [
        f"{_WORDS.get(key, key)}: {before.get(key)} -> {now.get(key)}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def device_name(device: torch.device) -> str:
    """What the driver calls the GPU, or /proc/cpuinfo the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name(Path("/proc/cpuinfo")) or platform.processor() or platform.machine()


def _cpu_name(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def _torch() -> str:
    return str(torch.__version__)
