"""A fake backend behind the real app, on a real server, on a free port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser as Chromium

from orchestrator.domain import Hold
from orchestrator.home.clock import FakeClock, SystemClock
from orchestrator.web.app import build_app
from orchestrator.web.fake import FakeBackend
from orchestrator.web.server import WebServer
from orchestrator.web.settings import Settings
from orchestrator.web.stream import Streams

from .tab import Tab, chromium

Eventually = Callable[[Callable[[], object]], object]


@dataclass
class Site:
    """A server that answers, and a client that knows it."""

    server: WebServer
    client: httpx.Client
    backend: FakeBackend
    streams: Streams

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.port}"


Serve = Callable[..., Site]
Stop = Callable[[WebServer], None]


@pytest.fixture(scope="session")
def stopping() -> Iterator[Stop]:
    """Stops servers beside the next tests: each takes a fifth of a second to end."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        ends: list[Future[None]] = []
        yield lambda server: ends.append(pool.submit(server.stop))
        for end in ends:
            end.result()


def open_site(
    stack: ExitStack,
    stop: Stop,
    backend: FakeBackend,
    clock: FakeClock,
    settings: Settings,
    streams: Streams,
    **server_options: Any,
) -> Site:
    """A server over ``backend`` that lives as long as ``stack``."""
    server = WebServer(host="127.0.0.1", port=0, **server_options)
    stack.callback(stop, server)
    server.serve(build_app(backend, settings, clock=clock, streams=streams))
    # verify only costs time here: there is no TLS, but the certificates would be read.
    client = httpx.Client(base_url=server.url, trust_env=False, timeout=10, verify=False)
    return Site(server, stack.enter_context(client), backend, streams)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "trainer.log"


@pytest.fixture
def backend(clock: FakeClock, log: Path) -> FakeBackend:
    return FakeBackend(clock, step=300, log=log)


@pytest.fixture
def serve(backend: FakeBackend, clock: FakeClock, stopping: Stop) -> Iterator[Serve]:
    """A function that serves this test's own backend, with settings and streams of its own."""
    with ExitStack() as stack:

        def serving(
            settings: Settings | None = None, streams: Streams | None = None, **options: Any
        ) -> Site:
            settings, streams = settings or Settings(), streams or Streams(backend)
            return open_site(stack, stopping, backend, clock, settings, streams, **options)

        yield serving


@pytest.fixture(scope="session")
def shared_site(stopping: Stop) -> Iterator[Site]:
    clock = FakeClock()
    backend = FakeBackend(clock, step=300)
    with ExitStack() as stack:
        yield open_site(stack, stopping, backend, clock, Settings(), Streams(backend))


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """One server for all tests that leave nothing behind but holds."""
    yield shared_site
    shared_site.backend.resume(run=None, source="test")


@pytest.fixture
def eventually() -> Eventually:
    """Wait until something becomes true, at most ten seconds."""
    clock = SystemClock()

    def wait(condition: Callable[[], object]) -> object:
        deadline = clock.monotonic() + 10
        while not (value := condition()):
            assert clock.monotonic() < deadline, "it never became true"
            clock.sleep(0.01)
        return value

    return wait


# --- a browser ------------------------------------------------------------------------------

Opened = Callable[..., Tab]


@pytest.fixture(scope="module")
def page_browser() -> Iterator[Chromium]:
    """The system's Chromium, driven by Playwright."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab_of(page_browser: Chromium) -> Iterator[Opened]:
    """A function that opens a forgetful tab: its width, and the system's colours."""
    contexts = []

    def opened(width: int = 1100, scheme: str = "light") -> Tab:
        context = page_browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        return Tab(context.new_page())

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def tab(tab_of: Opened) -> Tab:
    """One tab as wide as a desktop's window."""
    return tab_of()


def the_hold(site: Site, eventually: Eventually) -> Hold:
    """The only hold, once there is one."""
    eventually(lambda: site.backend.snapshot().holds)
    (hold,) = site.backend.snapshot().holds
    return hold
