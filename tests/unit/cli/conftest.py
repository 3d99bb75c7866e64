"""A terminal of 80 columns in Berlin, a clock that stands still, and the API double."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.root import root
from orchestrator.cli.session import Session
from orchestrator.home.clock import FakeClock
from tests.unit.cli.api_double import NOW, ApiDouble, serving

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("HOMERUN_URL", "HOMERUN_TOKEN", "HOMERUN_CONFIG", "HOMERUN_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiDouble]:
    """The API double, where $HOMERUN_URL points."""
    with serving() as api:
        monkeypatch.setenv("HOMERUN_URL", api.url)
        yield api


@pytest.fixture
def no_daemon(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nobody answers."""
    with serving() as api:
        url = api.url
    monkeypatch.setenv("HOMERUN_URL", url)
    return url


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def run(clock: FakeClock) -> Run:
    """``run("status", "--json")`` as a person would type it."""

    def call(*args: str, color: bool = False) -> Result:
        session = Session(clock=clock)
        return CliRunner().invoke(root, args, obj=session, prog_name="homerun", color=color)

    return call
