"""How a program that a command starts says what is wrong."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from trainer.ask.errors import AskError
from trainer.data import DataError
from trainer.program import in_words, natural

ROOT = Path(__file__).parents[3]


def failing(error: BaseException) -> int:
    def work() -> NoReturn:
        raise error

    return in_words(work)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AskError("no such thing", "look elsewhere"), 1, "homerun: no such thing\n  fix: look"),
        (DataError("no text", "write some"), 1, "homerun: no text\n  fix: write some"),
        (OSError(errno.EIO, "Input/output error"), 1, "homerun: OSError: [Errno 5]"),
        (MemoryError(), 1, "homerun: MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "GPU's memory is full\n  fix: --device"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_every_failure_has_its_words_and_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(error) == code
    assert words in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a mistake"):
        failing(RuntimeError("a mistake"))


def test_a_program_whose_parent_is_gone_already_ends() -> None:
    # 0x7fffffff is nobody's number
    program = "from trainer.program import end_with; end_with(0x7FFFFFFF)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 143


@pytest.mark.parametrize("text", ["-1", "9223372036854775808", "1.5", ""])
def test_numbers_of_the_command_line_are_natural(text: str) -> None:
    with pytest.raises(Exception, match=r"whole number|invalid literal"):
        natural(text)
