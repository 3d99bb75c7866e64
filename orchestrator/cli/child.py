"""A trainer program as a child of this command: it loads PyTorch, and this command must not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

import click

from orchestrator.cli.session import emit
from orchestrator.errors import HomerunError


def run(module: str, arguments: Sequence[str]) -> None:
    """Run ``python -m MODULE`` at our terminal; leaves with its exit code if that is not 0.

    It has said itself what is wrong. Ctrl-C reaches it from the terminal and is its own affair.
    """
    code = _run(module, arguments, None)[0]
    if code:
        raise click.exceptions.Exit(code)


def relay(noun: str, module: str, arguments: Sequence[str]) -> None:
    """The same for a program that prints one object of JSON, which is printed under ``noun``."""
    code, text = _run(module, arguments, subprocess.PIPE)
    if text or not code:
        try:
            value = json.loads(text or b"")
        except ValueError:
            raise HomerunError(f"{module} gave no answer", "see the lines above") from None
        emit(noun, value)
    if code:
        raise click.exceptions.Exit(code)


def _run(module: str, arguments: Sequence[str], stdout: int | None) -> tuple[int, bytes | None]:
    command = [sys.executable, "-m", module, f"--parent={os.getpid()}", *arguments]
    before = signal.signal(signal.SIGINT, _leave_it_to_the_child)
    try:
        done = subprocess.run(command, stdout=stdout, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    # a death by signal n is 128 + n, as a shell has it
    return done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout


def _leave_it_to_the_child(number: int, frame: FrameType | None) -> None:
    """A handler, not SIG_IGN: that one the child would inherit."""
