"""A program that a command of ``homerun`` starts: how it fails, and with whom it ends."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable

from trainer.ask.errors import AskError
from trainer.data.errors import DataError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_PR_SET_PDEATHSIG = 1


def in_words(work: Callable[[], int]) -> int:
    """Do the work; its exit code, or 1 with what is wrong in words, or 130 after Ctrl-C."""
    try:
        return work()
    except (AskError, DataError) as error:
        sys.stderr.write(f"homerun: {error.message}\n")
        if error.fix:
            sys.stderr.write(f"  fix: {error.fix}\n")
    except BrokenPipeError:
        # nobody reads on; keep Python from trying to write what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError) as error:
        sys.stderr.write(f"homerun: {type(error).__name__}: {error}\n")
    except RuntimeError as error:
        # PyTorch's own, by name: a program may do without PyTorch
        if type(error).__name__ != "OutOfMemoryError":
            raise
        sys.stderr.write("homerun: the GPU's memory is full\n  fix: --device cpu\n")
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return EXIT_INTERRUPTED
    return EXIT_FAILED


def end_with(parent: int) -> None:
    """End when process ``parent``, which started us, does, however it dies; 0 means nobody."""
    if not parent:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def natural(text: str) -> int:
    """A whole number of the command line, from 0 on, that fits 63 bits."""
    value = int(text)
    if not 0 <= value < 1 << 63:
        raise argparse.ArgumentTypeError("must be a whole number from 0 on")
    return value
