"""A price server and a way to ask it, for the tests of the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.home.clock import SystemClock
from orchestrator.tariff.http import RealHttp
from tests.unit.tariff import price_server as ps
from tests.unit.tariff.price_server import PriceServer


@pytest.fixture
def server() -> Iterator[PriceServer]:
    with ps.price_server() as running:
        yield running


@pytest.fixture
def http() -> RealHttp:
    return RealHttp(SystemClock(), proxies={})


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    return str(file)
