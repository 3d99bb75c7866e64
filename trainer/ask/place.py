"""Place: on which device a question is computed, and how politely.

A trainer that lives on this machine comes first: its GPU and half of the cores are left to it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer import environment
from trainer.ask.errors import AskError
from trainer.checkpoint.lease import is_held

#: of the scheduler, beside a trainer
_NICE = 10


@dataclass(frozen=True)
class Place:
    """Where to compute."""

    device: torch.device
    threads: int
    #: beside a trainer
    polite: bool
    #: why it is not where one would expect it; empty as a rule
    note: str = ""


def choose(run_dir: Path, device: str, threads: int) -> Place:
    """The place for a model of ``run_dir``.

    Args:
        device: "auto", "cpu" or "cuda". "auto" leaves a GPU to a trainer of any run beside this.
        threads: CPU threads; 0 means all cores, or half of them beside a trainer.

    Raises:
        AskError: CUDA is asked for and not to be had.
    """
    training = is_anyone_training(run_dir.parent)
    cores = environment.available_cores()
    threads = threads or (max(1, cores // 2) if training else cores)
    note = ""
    if device == "auto" and training and torch.cuda.is_available():
        device, note = "cpu", "on the CPU, since a trainer has the GPU; --device cuda takes it too"
    try:
        return Place(environment.device_for(device), threads, training, note)
    except environment.NoDeviceError:
        raise AskError("there is no CUDA device here", "leave out --device cuda") from None


def settle(place: Place) -> None:
    """Make this process compute there."""
    if place.polite:
        os.nice(_NICE)
    environment.settle(place.device, place.threads)


def is_anyone_training(runs_dir: Path) -> bool:
    """Whether a trainer lives on any run in this directory."""
    return any(is_held(lock.parent) for lock in runs_dir.glob("*/lock"))
