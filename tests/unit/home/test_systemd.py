"""sd_notify against a real datagram socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orchestrator.home.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_status_and_stopping_arrive(tmp_path: Path, abstract: bool) -> None:
    name = f"homerun-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name if abstract else name)
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name if abstract else name})
        notifier.ready()
        notifier.status("Training month.")
        notifier.stopping(120.0)
        heard = [systemd.recv(4096).decode() for _ in range(3)]
    assert heard == [
        "READY=1",
        "STATUS=Training month.\nWATCHDOG=1",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=120000000",
    ]


def test_without_systemd_nothing_happens_and_a_dead_socket_is_no_error(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert list(tmp_path.iterdir()) == []
