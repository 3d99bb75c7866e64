"""Something asked again and again: no mistake ends the asking."""

from __future__ import annotations

import logging
import threading

import pytest

from orchestrator.home.poller import Poller


def test_a_mistake_in_one_question_is_logged_and_the_next_one_is_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = threading.Semaphore(0)

    def ask() -> None:
        asked.release()
        raise KeyError("nobody expected this")

    with caplog.at_level(logging.ERROR):
        poller = Poller("ups", ask, every_seconds=0.001)
        assert all(asked.acquire(timeout=30) for _ in range(3))
        poller.close()
    assert "ups: a mistake while asking" in caplog.text
    assert "nobody expected this" in caplog.text


def test_after_its_end_nothing_is_asked_any_more() -> None:
    asked: list[int] = []
    poller = Poller("ups", lambda: asked.append(1), every_seconds=0.001)
    poller.close()
    before = len(asked)
    assert before >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "ups"]
    assert len(asked) == before
