"""The bar appears when it is worth it, and only where somebody looks."""

from __future__ import annotations

import io

from tests.unit.loop.support import HandClock
from trainer.bar import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(out: io.StringIO, seconds: int, *, known: bool = True) -> str:
    clock = HandClock()
    bar = Bar(out, clock)
    for second in range(seconds):
        bar.show("evaluating", second / seconds if known else -1.0)
        clock.sleep(1.0)
    bar.clear()
    return out.getvalue()


def test_quick_work_shows_nothing() -> None:
    assert work(Terminal(), 2) == ""


def test_long_work_shows_how_far_it_is_and_leaves_nothing_behind() -> None:
    shown = work(Terminal(), 100)
    assert "[############............]  50 %  evaluating  0:50 left" in shown
    assert shown.endswith("\r\x1b[K")


def test_work_of_unknown_length_shows_how_long_it_takes() -> None:
    assert "evaluating 1:05" in work(Terminal(), 100, known=False)


def test_a_file_gets_no_bar() -> None:
    assert work(io.StringIO(), 100) == ""
