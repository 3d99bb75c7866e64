"""The Ray head: the command that starts it, its environment, its processes.

Measured with Ray 2.60: with these settings the head is five processes, and each of their
ports, of the driver's and of the workers', is bound to 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.engine import process, pulse, tether
from orchestrator.engine.launcher import LaunchError, Place, Watcher
from orchestrator.engine.process import Identity
from orchestrator.engine.question import Question
from orchestrator.home.clock import Clock

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.1
#: for `ray start` to say why it has ended its parts again
_REASON_SECONDS = 5.0
#: the parts that the engine cannot live without
VITAL = ("gcs_server", "raylet")
#: cheap calls that go through each part's main event loop
_QUESTIONS = {
    "gcs_server": ("GCS", "/ray.rpc.NodeInfoGcsService/CheckAlive"),
    "raylet": ("raylet", "/ray.rpc.NodeManagerService/IsLocalWorkerDead"),
}
_TITLES = {
    "gcs_server": ("gcs/gcs_server",),
    "raylet": ("raylet/raylet",),
    "dashboard": ("dashboard/dashboard.py",),
    "dashboard_agent": ("dashboard/agent.py", "ray::DashboardAgent"),
    "runtime_env_agent": ("runtime_env/agent/main.py", "ray::RuntimeEnvAgent"),
}


def environment(base: Mapping[str, str], token_file: Path) -> dict[str, str]:
    """The environment of everything that has to do with Ray, the driver included.

    Settings that the person has for other Ray clusters are dropped.
    """
    kept = {key: value for key, value in base.items() if not key.startswith("RAY_")}
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        # without it Ray replaces 127.0.0.1 by the address of the network card and listens there
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # it judges by the memory of the whole machine: a browser could get the trainer killed
        "RAY_memory_monitor_refresh_ms": "0",
        # Ray would run the trainer at nice 15 and offer it first to the kernel's OOM killer
        "RAY_worker_niceness": "0",
        "RAY_worker_oom_score_adjustment": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_ROTATION_MAX_BYTES": str(10 << 20),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "RAY_BACKEND_LOG_LEVEL": "warning",
        "RAY_event_stats_print_interval_ms": "0",
        "RAY_debug_dump_period_milliseconds": "0",
    }


def gpu_count(env: Mapping[str, str]) -> int:
    """CUDA devices that NVML sees and CUDA_VISIBLE_DEVICES allows; 0 when NVML does not answer."""
    try:
        import pynvml

        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    except Exception:
        # NVML fails in many ways on machines without a driver; all of them mean: no GPU here
        return 0
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    return min(count, len([item for item in visible.split(",") if item.strip() not in ("", "-1")]))


def command(place: Place, ports: Mapping[str, int], gpus: int, spare_ports: list[int]) -> list[str]:
    """The lean head on the loopback interface; it lives as long as this command does.

    Args:
        ports: of each vital part.
    """
    arguments = {
        "node-ip-address": LOOPBACK,
        "port": ports["gcs_server"],
        # a free one of our choice, so that it can be asked whether it answers
        "node-manager-port": ports["raylet"],
        # nothing listens there as long as the dashboard is off, but Ray insists on a free one
        "dashboard-port": spare_ports[0],
        # 0: any free one; without ray[default] nothing listens there either
        "dashboard-agent-listen-port": 0,
        "include-dashboard": "false",
        "include-log-monitor": "false",
        # CPUs are not rationed by Ray: one trainer runs at a time and takes all of them
        "num-cpus": 0,
        "num-gpus": gpus,
        "object-store-memory": place.object_store_bytes,
        "temp-dir": session_root(place),
    }
    if importlib.util.find_spec("grpc") is not None:
        # with grpc installed Ray starts its client server on a fixed port unless given another
        arguments["ray-client-server-port"] = spare_ports[1]
    flags = ["--head", "--block", "--no-monitor", "--disable-usage-stats"]
    flags += [f"--{name}={value}" for name, value in arguments.items()]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", *flags]


def session_root(place: Place) -> Path:
    """Ray's own directory: sessions, logs, sockets. It is emptied at each start."""
    return place.runtime_dir / "ray"


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses on the loopback interface now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for item in sockets:
            item.bind((LOOPBACK, 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()


class RayHead:
    """``ray start`` as a child that the kernel kills when this process dies."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self._place = place
        self._clock = clock
        self._log = place.runtime_dir / "ray-start.log"
        self.port, raylet_port, *self._spare_ports = free_ports(4)
        self._ports = {"gcs_server": self.port, "raylet": raylet_port}
        self.token_file = place.runtime_dir / "token"
        self.gpus = 0
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Identity:
        """Start the command; the head is not up yet. Must be called from the main thread.

        The kernel ties the child to the thread that starts it.
        """
        shutil.rmtree(session_root(self._place), ignore_errors=True)
        self._write_token()
        env = environment(os.environ, self.token_file)
        self.gpus = gpu_count(env)
        line = command(self._place, self._ports, self.gpus, self._spare_ports)
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                tether.tethered(line),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
            )
        identity = process.identify(self._child.pid)
        if identity is None:
            raise LaunchError(f"ray start ended at once: {self.last_words()}")
        return identity

    def wait_up(self, watcher: Watcher) -> dict[str, Identity]:
        """Wait until the vital parts are there and the GCS accepts connections.

        The pulse of each is felt as soon as it is seen, so that one which hangs meanwhile is named.

        Returns:
            The vital parts, parents first.

        Raises:
            LaunchError: `ray start` or a part ended, or ``Patience.up_seconds`` passed.
        """
        limit = self._place.patience.up_seconds
        deadline = self._clock.monotonic() + limit
        seen: dict[str, Identity] = {}
        while self._clock.monotonic() < deadline:
            self._must_go_on(seen)
            parts = self.parts()
            for name in [name for name in VITAL if name in parts and name not in seen]:
                seen[name] = parts[name]
                watcher.feel_pulse(parts[name], self._question(name))
            if len(seen) == len(VITAL) and self._accepts():
                return {name: seen[name] for name in VITAL}
            self._clock.sleep(_POLL_SECONDS)
        raise LaunchError(f"Ray did not come up in {limit:.0f} s: {self._what_is_missing(seen)}")

    def _must_go_on(self, seen: Mapping[str, Identity]) -> None:
        assert self._child is not None
        dead = [name for name, part in seen.items() if process.identify(part.pid) != part]
        if dead:
            # it may have ended them itself, and its own last words say more
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_REASON_SECONDS)
        if self._child.poll() is not None:
            raise LaunchError(f"ray start ended: {self.last_words()}")
        if dead:
            raise LaunchError(f"{dead[0]} is gone while Ray comes up")

    def _accepts(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _question(self, name: str) -> Question:
        title, method = _QUESTIONS[name]
        return Question(title, self._ports[name], method, self.token_file, self._clock)

    def _what_is_missing(self, seen: Mapping[str, Identity]) -> str:
        assert self._child is not None
        missing = [_QUESTIONS[name][0] for name in VITAL if name not in seen]
        if not missing:
            return f"the GCS listens nowhere; {self.last_words()}"
        starter = pulse.state_in_words(self._child.pid)
        return f"no {' and no '.join(missing)}; of ray start: {starter}; {self.last_words()}"

    def parts(self) -> dict[str, Identity]:
        """The processes below ``ray start`` that are known by name."""
        assert self._child is not None
        table = process.all_processes()
        found: dict[str, Identity] = {}
        for pid in process.descendants({self._child.pid}, table):
            line = process.command_line(pid)
            for name, titles in _TITLES.items():
                # a command that merely mentions another one has it behind its own first words
                if any(title in " ".join(line.split()[:2]) for title in titles):
                    found.setdefault(name, table[pid].identity)
        return found

    def end_dashboard(self) -> None:
        """Give back the memory of the dashboard's process (90 MB), which serves nothing here.

        Ray starts it even without a dashboard, for usage statistics that are off. A process
        that ends by SIGTERM is no failure for ``ray start --block``.
        """
        dashboard = self.parts().get("dashboard")
        if dashboard is not None:
            process.send_signal(dashboard, signal.SIGTERM)

    def last_words(self) -> str:
        """The last line that ``ray start`` wrote."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return "it wrote nothing"
        spoken = [line.strip() for line in lines if line.strip()]
        return spoken[-1][:500] if spoken else "it wrote nothing"

    def _write_token(self) -> None:
        self.token_file.unlink(missing_ok=True)
        fd = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
