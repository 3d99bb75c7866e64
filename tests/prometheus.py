"""A real Prometheus and a real Alertmanager of the tests' own: Debian's, on free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.home.clock import SystemClock

DEPLOY = Path(__file__).parents[1] / "deploy"
_DEADLINE_SECONDS = 120.0
_CLOCK = SystemClock()


def wait_for(what: str, look: Callable[[], Any], every_seconds: float = 0.1) -> Any:
    """The first true value of ``look``, on however busy a machine."""
    deadline = _CLOCK.monotonic() + _DEADLINE_SECONDS
    while not (value := look()):
        assert _CLOCK.monotonic() < deadline, f"waited in vain for {what}"
        _CLOCK.sleep(every_seconds)
    return value


class Server:
    """One server program in a directory of its own; ``address`` is where it listens."""

    def __init__(self, program: str, package: str, options: list[str]) -> None:
        found = shutil.which(program)
        if found is None:
            why = f"no {program} here: apt-get install --no-install-recommends {package}"
            if os.environ.get("CI"):
                pytest.fail(why)
            pytest.skip(why)
        self.log = Path(tempfile.mkdtemp(prefix="hr-watch-")) / "log"
        # port 0: the kernel gives a free one, so that nobody can take it in between
        listen = "--web.listen-address=127.0.0.1:0"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [found, *options, listen], cwd=self.log.parent, stdout=log, stderr=log
            )
        self.address = str(wait_for(f"{program} to listen", self._listening))
        wait_for(f"{program} to be ready", lambda: self._answers("/-/ready"))

    def get(self, path: str, **query: str) -> Any:
        """The JSON that it answers."""
        url = f"http://{self.address}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        """End it and remove what it wrote."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(_DEADLINE_SECONDS)
        shutil.rmtree(self.log.parent)

    def _listening(self) -> str | None:
        if self._process.poll() is not None:
            raise AssertionError(f"it ended: {self.log.read_text()[-2000:]}")
        try:
            found = psutil.Process(self._process.pid).net_connections("tcp")
        except psutil.Error:
            return None
        ports = [item.laddr.port for item in found if item.status == psutil.CONN_LISTEN]
        return f"127.0.0.1:{ports[0]}" if ports else None

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Alertmanager(Server):
    """Takes alerts in and tells nobody."""

    def __init__(self) -> None:
        config = DEPLOY / "alertmanager/alertmanager.yml"
        options = [f"--config.file={config}", "--storage.path=alerts", "--cluster.listen-address="]
        super().__init__("prometheus-alertmanager", "prometheus-alertmanager", options)

    def firing(self) -> set[str]:
        """Names of the alerts that it holds."""
        return {item["labels"]["alertname"] for item in self.get("/api/v2/alerts")}


class Prometheus(Server):
    """Scrapes ``target`` each second by the configuration and the rules in deploy/."""

    def __init__(self, target: str, alertmanager: str = "127.0.0.1:9") -> None:
        text = (DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8")
        for ours, mine in (
            ("127.0.0.1:8420", target),
            ("127.0.0.1:9093", alertmanager),
            ("rules/*.yml", f"{DEPLOY}/prometheus/rules/*.yml"),
            ("15s", "1s"),
        ):
            assert ours in text, ours
            text = text.replace(ours, mine)
        self._folder = Path(tempfile.mkdtemp(prefix="hr-config-"))
        config = self._folder / "prometheus.yml"
        config.write_text(text, encoding="utf-8")
        options = [f"--config.file={config}", "--storage.tsdb.path=data"]
        super().__init__("prometheus", "prometheus", options)

    def stop(self) -> None:
        """See Server."""
        super().stop()
        shutil.rmtree(self._folder)

    def query(self, expression: str) -> list[Any]:
        """The series of an instant query; raises AssertionError with the server's words."""
        try:
            answer = self.get("/api/v1/query", query=expression)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{expression}: {error.read().decode()}") from None
        series: list[Any] = answer["data"]["result"]
        return series

    def firing(self) -> set[str]:
        """Names of the alerts that fire; those that only may come are left out."""
        found = self.get("/api/v1/alerts")["data"]["alerts"]
        return {item["labels"]["alertname"] for item in found if item["state"] == "firing"}


@contextmanager
def running(server: Server) -> Iterator[None]:
    """Stop it whatever happens."""
    try:
        yield
    finally:
        server.stop()
